package kubeletmetrics

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
)

// roundTripper is a transport without a network.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// slowClient is a client that reads its answer once it may, and the connection to it.
type slowClient struct {
	mayRead   <-chan struct{}
	header    http.Header
	deadlines []time.Time
	err       error
}

// Header implements http.ResponseWriter.
func (c *slowClient) Header() http.Header { return c.header }

// WriteHeader implements http.ResponseWriter.
func (*slowClient) WriteHeader(int) {}

// SetWriteDeadline implements what http.ResponseController calls.
func (c *slowClient) SetWriteDeadline(at time.Time) error {
	c.deadlines = append(c.deadlines, at)
	return nil
}

// Write implements http.ResponseWriter.
func (c *slowClient) Write(body []byte) (int, error) {
	select {
	case <-c.mayRead:
		return len(body), nil
	case <-time.After(time.Until(c.deadlines[0])):
		c.err = os.ErrDeadlineExceeded
		return 0, c.err
	}
}

// newHandlerWithoutNetwork returns a handler whose kubelet has no pods.
func newHandlerWithoutNetwork(t *testing.T) *Handler {
	t.Helper()
	client := fake.NewClientset()
	h, err := New(Options{
		Enabled: true, Cluster: shop(), Clock: clocktesting.NewFakeClock(time.Unix(0, 0)), Host: &rest.Config{Host: "https://host.example"},
		Virtual:  func() kubernetes.Interface { return client },
		HostNode: func(context.Context, string) (*corev1.Node, error) { return node("host-1", 10250, "203.0.113.9"), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	h.kubelets.client.Transport = roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {textType}}, Body: io.NopCloser(strings.NewReader("")),
		}, nil
	})
	return h
}

// TestSlowClients serves clients that do not read. They hold a bounded number of answers, for a bounded time.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, q := newHandlerWithoutNetwork(t), query{node: "host-1", path: resourcePath}
		serve := func(w http.ResponseWriter) {
			h.serve(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), q)
		}
		begin, slow := time.Now(), make([]*slowClient, maxServed)
		for i := range slow {
			slow[i] = &slowClient{header: http.Header{}}
			go serve(slow[i])
		}
		synctest.Wait()
		denied := httptest.NewRecorder()
		serve(denied)
		if denied.Code != http.StatusTooManyRequests || denied.Header().Get("Retry-After") == "" || time.Since(begin) != askTimeout {
			t.Errorf("one more client got %d and %v after %s, want 429 and when to retry", denied.Code, denied.Header(), time.Since(begin))
		}
		late := httptest.NewRecorder()
		time.Sleep(writeTimeout - askTimeout - 1) // by the fake clock of the bubble
		serve(late)
		if took := time.Since(begin); late.Code != http.StatusOK || took != writeTimeout {
			t.Errorf("a client that waits got %d after %s, want 200 after %s", late.Code, took, writeTimeout)
		}
		synctest.Wait()
		for _, client := range slow {
			if client.err == nil || !client.deadlines[0].Equal(begin.Add(writeTimeout)) {
				t.Errorf("a client that does not read: %v, deadlines %v", client.err, client.deadlines)
			}
		}
		mayRead := make(chan struct{})
		close(mayRead)
		quick := &slowClient{mayRead: mayRead, header: http.Header{}}
		serve(quick)
		if len(quick.deadlines) != 2 || !quick.deadlines[1].IsZero() {
			t.Errorf("a client that reads keeps a deadline for its next request: %v", quick.deadlines)
		}
	})
}
