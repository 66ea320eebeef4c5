package scheduler

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sublet-dev/sublet/hostlab/sim"
)

// wire is the way from a server to its host. It lets everything through but for
// the requests that a test catches, so that the server can be killed at a moment
// that is known.
type wire struct {
	*sim.Host
	front *httptest.Server
	proxy *httputil.ReverseProxy

	mu      sync.Mutex
	catches []*catch
	still   []stillness
}

// fate is what becomes of a request that is caught: the zero value is that it does
// not reach the host. None is ever answered to the server that sent it.
type fate int

const (
	// unanswered requests reach the host at once.
	unanswered fate = iota + 1
	// late requests reach the host when the test releases them, whether or not the server
	// that sent them is alive. They were on the wire already.
	late
)

// request selects the requests that are caught, by method and by resource in the server's
// namespace, with their fate.
type request struct {
	method, resource string
	fate             fate
}

// catch is where requests are caught.
type catch struct {
	request
	met     chan struct{} // closed when there is one
	arrive  chan struct{} // closed when a late one is to reach the host
	answers chan answer   // how the host answered a late one
	once    sync.Once
}

// answer is what the host said to a late request.
type answer struct {
	code int
	body string
}

// stillness stops the watches of a resource from the moment it is there on.
type stillness struct {
	resource string
	over     chan struct{}
}

// newWire makes a way to the host.
func newWire(t *testing.T, host *sim.Host) *wire {
	t.Helper()
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(host.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true}
	w := &wire{Host: host}
	w.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: host.Address()})
		},
		Transport:      transport,
		FlushInterval:  -1, // events must not wait for more of them
		ModifyResponse: w.slow,
		// An answer of the proxy's own would look like one of the host.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	w.front = httptest.NewUnstartedServer(w)
	w.front.EnableHTTP2 = true
	w.front.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.front.StartTLS()
	t.Cleanup(func() {
		w.clear()
		w.front.Close()
		transport.CloseIdleConnections()
	})
	return w
}

// Address returns that of the wire, in place of the host's own.
func (w *wire) Address() string { return w.front.Listener.Addr().String() }

// CA returns that of the wire.
func (w *wire) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.front.Certificate().Raw})
}

// catch catches requests from now on.
func (w *wire) catch(r request) *catch {
	c := &catch{request: r, met: make(chan struct{}), arrive: make(chan struct{}), answers: make(chan answer, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.catches = append(w.catches, c)
	return c
}

// hush lets the server hear nothing new of a resource from now on.
func (w *wire) hush(resource string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.still = append(w.still, stillness{resource, make(chan struct{})})
}

// clear lets through all that comes. What was caught stays so.
func (w *wire) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.still {
		close(s.over)
	}
	w.catches, w.still = nil, nil
}

// ServeHTTP implements http.Handler.
func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	c := w.caught(r)
	if c == nil {
		w.proxy.ServeHTTP(rw, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // It was never sent as a whole.
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	// What reaches the host does not care whether its sender lives.
	onward := r.Clone(context.WithoutCancel(r.Context()))
	if c.fate == unanswered {
		w.proxy.ServeHTTP(httptest.NewRecorder(), onward)
	}
	c.once.Do(func() {
		close(c.met)
		if c.fate == late {
			go func() {
				<-c.arrive
				c.answers <- w.deliver(onward, body)
			}()
		}
	})
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// deliver sends a late request to the host. It is sent again if it lost to another write of
// the namespace's quota: the host's API server gives up after a few of them.
func (w *wire) deliver(r *http.Request, body []byte) answer {
	for {
		r.Body = io.NopCloser(bytes.NewReader(body))
		record := httptest.NewRecorder()
		w.proxy.ServeHTTP(record, r)
		got := answer{record.Code, record.Body.String()}
		if got.code != http.StatusConflict || !strings.Contains(got.body, "resourcequotas") {
			return got
		}
	}
}

// caught returns the catch that a request belongs to, nil if there is none.
func (w *wire) caught(r *http.Request) *catch {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.catches {
		if r.Method == c.method && resourceOf(r.URL.Path) == c.resource {
			return c
		}
	}
	return nil
}

// resourceOf returns the resource of a path with its subresource. It is empty if the path
// is in no namespace.
func resourceOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/api/v1/namespaces/")
	parts := strings.Split(rest, "/")
	switch {
	case !ok || len(parts) < 2:
		return ""
	case len(parts) > 3:
		return parts[1] + "/" + parts[3]
	}
	return parts[1]
}

// slow makes a watch wait while it is to be still.
func (w *wire) slow(response *http.Response) error {
	r := response.Request
	if r.URL.Query().Get("watch") != "" {
		response.Body = &events{ReadCloser: response.Body, wire: w, resource: resourceOf(r.URL.Path), ended: r.Context().Done()}
	}
	return nil
}

// stop returns a channel to wait for before events of a resource may pass, nil if they
// may.
func (w *wire) stop(resource string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.still {
		if s.resource == resource {
			return s.over
		}
	}
	return nil
}

// events is the answer to a watch.
type events struct {
	io.ReadCloser
	wire     *wire
	resource string
	ended    <-chan struct{}
}

// Read implements io.Reader.
func (e *events) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if over := e.wire.stop(e.resource); over != nil {
		select {
		case <-over:
		case <-e.ended:
			return 0, context.Canceled
		}
	}
	return n, err
}

// await waits until a request is caught.
func (c *catch) await(t *testing.T) {
	t.Helper()
	eventually(t, c.method+" of "+c.resource, func(context.Context) error {
		select {
		case <-c.met:
			return nil
		default:
			return errors.New("none was sent")
		}
	})
}

// let lets a late request reach the host and returns how the host answered.
func (c *catch) let(t *testing.T) answer {
	t.Helper()
	close(c.arrive)
	var got answer
	eventually(t, "the answer to the late "+c.method+" of "+c.resource, func(context.Context) error {
		select {
		case got = <-c.answers:
			return nil
		default:
			return errors.New("there is none")
		}
	})
	return got
}

func TestResourceOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ reason, path, want string }{
		{"a collection", "/api/v1/namespaces/shop/pods", "pods"},
		{"an object", "/api/v1/namespaces/shop/pods/web", "pods"},
		{"what belongs to an object is not the object", "/api/v1/namespaces/shop/pods/web/status", "pods/status"},
		{"all namespaces", "/api/v1/pods", ""},
		{"a namespace itself", "/api/v1/namespaces/shop", ""},
		{"another group", "/apis/apps/v1/namespaces/shop/deployments", ""},
	} {
		if diff := cmp.Diff(test.want, resourceOf(test.path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.reason, diff)
		}
	}
}
