package nodeproxy

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestStreamLimit opens as many logs as there may be. All further requests are refused,
// whatever their operation, until a log is closed.
func TestStreamLimit(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	opened := make(chan struct{}, 10)
	h.logs = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		opened <- struct{}{}
		<-r.Context().Done()
	}
	p, _ := startProxy(t, h, func(o *Options) { o.MaxStreams = 2 })
	first := openLog(t, p)
	openLog(t, p)
	<-opened
	<-opened
	want := reply{
		RetryAfter: streamRetry,
		Text: "too many open streams: this virtual cluster may have 2 log, exec, attach and port-forward requests at once. " +
			"Close some and try again, or ask the operator of the host to raise policies.streams.max",
	}
	for path, code := range map[string]int{
		// The API server keeps the text of this code alone.
		"/containerLogs/web/front-0/nginx?follow=true": http.StatusBadRequest, "/containerLogs/web/front-0/nginx": http.StatusBadRequest,
		"/exec/web/front-0/nginx?command=ls": http.StatusTooManyRequests, "/attach/web/front-0/nginx": http.StatusTooManyRequests,
		"/portForward/web/front-0": http.StatusTooManyRequests,
	} {
		want.Code = code
		if diff := cmp.Diff(want, sendRequest(t, p, http.MethodGet, path, nil)); diff != "" {
			t.Errorf("%s above the limit\n-want, +got:\n%s", path, diff)
		}
	}
	if got := len(h.requests()); got != 2 {
		t.Errorf("the host got %d requests, want 2: a refused one must cost it nothing", got)
	}
	first()
	deadline := time.After(time.Minute)
	for p.streams.open.Load() > 1 {
		select {
		case <-deadline:
			t.Fatal("a closed log still counts")
		case <-time.Tick(time.Millisecond):
		}
	}
	openLog(t, p)
	<-opened
}

// openLog opens a log that is followed until the test or the returned function ends it.
func openLog(t *testing.T, p *Proxy) context.CancelFunc {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, followPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := kubelet(t, p).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("a log within the limit is answered with %s", response.Status)
	}
	return cancel
}
