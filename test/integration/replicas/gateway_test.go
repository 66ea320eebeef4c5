package replicas

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/hostlab/sim"
	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

// hostWrite is a write to the host that the host has accepted.
type hostWrite struct {
	pod      string // of the replica that sent it
	method   string
	resource string // with its namespace's object and subresource, as pods/NAME/status
	// version is the resourceVersion of the answer: the place of the write among all of
	// the host. It is 0 if the answer has none.
	version uint64
}

// hostLog records what the replicas of one virtual cluster write to their host.
type hostLog struct {
	mu     sync.Mutex
	writes []hostWrite
	newest uint64
}

// add records a write that was sent when the newest version was before. An answer with an
// older one is to a write that changed nothing.
func (l *hostLog) add(w hostWrite, before uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.version > before {
		l.writes, l.newest = append(l.writes, w), max(l.newest, w.version)
	}
}

// seen returns the newest version that the log has.
func (l *hostLog) seen() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// all returns the writes so far.
func (l *hostLog) all() []hostWrite {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]hostWrite{}, l.writes...)
}

// sentKey is the key of the newest version when a request was sent.
type sentKey struct{}

// gateway is the way of one replica to the host. All replicas have the same account, and
// only their ways differ.
type gateway struct {
	host  *sim.Host
	pod   string
	log   *hostLog
	front *httptest.Server
}

// newGateway returns the way of a pod to the host, which ends with the test.
func newGateway(t *testing.T, host *sim.Host, pod string, written *hostLog) *gateway {
	t.Helper()
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(host.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true}
	g := &gateway{host: host, pod: pod, log: written}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "https", Host: host.Address()}) },
		Transport:      transport,
		FlushInterval:  -1, // events must not wait for more of them
		ModifyResponse: g.record,
		// An answer of the proxy's own would look like one of the host.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	g.front = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), sentKey{}, written.seen())))
	}))
	g.front.EnableHTTP2 = true
	g.front.Config.ErrorLog = log.New(io.Discard, "", 0)
	g.front.StartTLS()
	t.Cleanup(func() {
		g.front.CloseClientConnections()
		g.front.Close()
		transport.CloseIdleConnections()
	})
	return g
}

// Config implements [tenant.Host].
func (g *gateway) Config() *rest.Config { return g.host.Config() }

// Address implements [tenant.Host].
func (g *gateway) Address() string { return g.front.Listener.Addr().String() }

// CA implements [tenant.Host].
func (g *gateway) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.front.Certificate().Raw})
}

// record records the write that the host has accepted with this answer.
func (g *gateway) record(answer *http.Response) error {
	r := answer.Request
	if r.Method == http.MethodGet || answer.StatusCode >= http.StatusBadRequest {
		return nil
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	w := hostWrite{pod: g.pod, method: r.Method, resource: resourceOf(r.URL.Path), version: versionOf(body)}
	before, _ := r.Context().Value(sentKey{}).(uint64)
	g.log.add(w, before)
	return nil
}

// versionOf returns the resourceVersion of an encoded object, 0 if it has none.
func versionOf(body []byte) uint64 {
	object, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), body)
	if err != nil {
		return 0
	}
	accessor, err := meta.CommonAccessor(object)
	if err != nil {
		return 0
	}
	version, err := strconv.ParseUint(accessor.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return version
}

// resourceOf returns what a path in a namespace leads to, as pods/NAME. It is empty
// for other paths.
func resourceOf(path string) string {
	_, rest, ok := strings.Cut(path, "/namespaces/")
	if !ok {
		return ""
	}
	_, resource, _ := strings.Cut(rest, "/")
	return resource
}

// ways are the ways of all replicas to the host, by the name of the pod. Each can be cut.
type ways struct {
	written hostLog
	mu      sync.Mutex
	links   map[string]*link
	hosts   map[string]tenant.Host
}

// newWays returns the ways to a host, which end with the test.
func newWays() *ways { return &ways{links: map[string]*link{}, hosts: map[string]tenant.Host{}} }

// via returns the way of a pod to the host.
func (w *ways) via(t *testing.T, host *sim.Host, pod string) tenant.Host {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hosts[pod] == nil {
		g := newGateway(t, host, pod, &w.written)
		w.links[pod] = newLink(t, g.Address())
		w.hosts[pod] = linkedHost{Host: g, link: w.links[pod]}
	}
	return w.hosts[pod]
}

// link returns the link of a pod to the host, nil if it has not started yet.
func (w *ways) link(pod string) *link {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.links[pod]
}

func TestGateway(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ reason, path, want string }{
		{"a collection", "/api/v1/namespaces/shop/pods", "pods"},
		{"an object", "/api/v1/namespaces/shop/pods/web", "pods/web"},
		{"a subresource", "/apis/apps/v1/namespaces/shop/statefulsets/web/scale", "statefulsets/web/scale"},
		{"a namespace itself", "/api/v1/namespaces/shop", ""},
		{"no namespace", "/api/v1/nodes/n", ""},
	} {
		if got := resourceOf(c.path); got != c.want {
			t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
		}
	}
	if got := versionOf([]byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"42"}}`)); got != 42 {
		t.Errorf("version %d, want 42", got)
	}
	if got := versionOf([]byte("broken")); got != 0 {
		t.Errorf("version %d of what is no object", got)
	}
}
