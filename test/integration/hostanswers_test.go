package integration

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// answering returns a copy of config whose requests get the answer of a function, or pass if that is nil.
func answering(config *rest.Config, answer func(*http.Request) *http.Response) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			if response := answer(request); response != nil {
				if request.Body != nil {
					_ = request.Body.Close()
				}
				return response, nil
			}
			return next.RoundTrip(request)
		})
	})
	return config
}

// page returns an answer that is a text.
func page(request *http.Request, code int, text string, header http.Header) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	return &http.Response{
		StatusCode: code, Status: fmt.Sprintf("%d %s", code, http.StatusText(code)), Header: header, Request: request,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)),
	}
}

// TestHostBehindAProxy lets a proxy answer 404 for a while, because the host is down. What changes meanwhile
// reaches the host when it is back, and nothing passes for gone.
func TestHostBehindAProxy(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	var down atomic.Bool
	e := r.start(t, answering(r.host.memory(), func(request *http.Request) *http.Response {
		if !down.Load() {
			return nil
		}
		return page(request, http.StatusNotFound, "default backend - 404", nil)
	}), r.configMaps())
	e.synced(t)
	r.putMap(t, "cart", "1")
	before := r.has(t, "cart", "1")
	gone := r.putMap(t, "goes", "1")
	r.has(t, "goes", "1")
	down.Store(true)
	r.putMap(t, "cart", "2")
	if err := r.virtual.client.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what /syncz says", func(context.Context) error {
		if status := e.status(); !strings.Contains(status, "host: false: Host API server unreachable") || !strings.Contains(status, "2 objects wait for the host") {
			return fmt.Errorf("it says %s", status)
		}
		return nil
	})
	down.Store(false)
	if after := r.has(t, "cart", "2"); after.UID != before.UID {
		t.Error("Nothing must be replaced because the host was away")
	}
	r.waitForNoCopy(t, "goes")
}

// TestHostOverloaded lets the host answer writes with 429, as priority and fairness does. The engine comes back
// as often as the host asks for, and names the answer.
func TestHostOverloaded(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	var overloaded atomic.Bool
	var refused atomic.Int32
	e := r.start(t, answering(r.host.memory(), func(request *http.Request) *http.Response {
		if request.Method != http.MethodPost || !overloaded.Load() {
			return nil
		}
		refused.Add(1)
		return page(request, http.StatusTooManyRequests, "Too many requests, please try again later.", http.Header{"Retry-After": {"2"}})
	}), r.configMaps())
	e.synced(t)
	r.putMap(t, "passes", "1")
	r.has(t, "passes", "1")
	overloaded.Store(true)
	begin := time.Now()
	const maps = 20
	for i := range maps {
		r.putMap(t, fmt.Sprintf("cart-%d", i), "1")
	}
	eventually(t, "what /syncz says", func(context.Context) error {
		if status := e.status(); !strings.Contains(status, fmt.Sprintf("%d objects are retried", maps)) || !strings.Contains(status, "Too many requests") {
			return fmt.Errorf("it says %s", status)
		}
		return nil
	})
	// A worker that sleeps would hold this one up.
	r.putMap(t, "passes", "2")
	r.has(t, "passes", "2")
	got := refused.Load()
	if took := time.Since(begin); got > maps*int32(1+took/(2*time.Second)) {
		t.Errorf("Each of %d objects must wait as long as the host asks for, but %d requests were sent in %s", maps, got, took)
	}
	overloaded.Store(false)
	for i := range maps {
		r.has(t, fmt.Sprintf("cart-%d", i), "1")
	}
}
