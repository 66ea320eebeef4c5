package controlplane

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

// newUpload returns a request with a body.
func newUpload(ctx context.Context, major int, length int64) *http.Request {
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/v1/namespaces/n/services/s/proxy/", strings.NewReader("x"))
	req.ProtoMajor, req.ContentLength = major, length
	if length == 0 {
		req.Body = http.NoBody
	}
	return req
}

// TestPendingSize returns what the server keeps of some bodies.
func TestPendingSize(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		major  int
		length int64
		want   int64
	}{
		"None":    {"a request without a body keeps nothing", 2, 0, 0},
		"Small":   {"a small one is there as a whole", 2, 1000, 1000},
		"Large":   {"the server reads no further than its buffer", 2, 1 << 30, streamBuffer},
		"Unknown": {"nor does it if the length is unknown", 2, -1, streamBuffer},
		"HTTP1":   {"HTTP/1 reads nothing ahead", 1, 1 << 30, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := pendingSize(newUpload(t.Context(), tc.major, tc.length)); got != tc.want {
				t.Errorf("%s: got %d, want %d", tc.reason, got, tc.want)
			}
		})
	}
	_ = callAs(t, loopback.Caller{User: &user.DefaultInfo{}}, func(ctx context.Context) error {
		if got := pendingSize(newUpload(ctx, 2, 1000)); got != 0 {
			t.Errorf("a part of the process sends its body in memory: got %d", got)
		}
		return nil
	})
}

// TestPendingBodies sends large bodies that nobody reads until there is no room. A quarter is left to small ones.
func TestPendingBodies(t *testing.T) {
	t.Parallel()
	const most = 3
	p := &pendingBodies{requestMemory: func() int64 { return (most + 1) * streamBuffer * bodiesShare }}
	begun, end := make(chan struct{}), make(chan struct{})
	handler := p.denyExcess(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if req.ContentLength == 0 {
			return
		}
		begun <- struct{}{}
		<-end
	}))
	serve := func(length int64) *httptest.ResponseRecorder {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, newUpload(t.Context(), 2, length))
		return answer
	}
	var group sync.WaitGroup
	for range most {
		group.Go(func() { serve(-1) })
		<-begun
	}
	if denied := serve(streamBuffer); denied.Code != http.StatusTooManyRequests || denied.Header().Get("Retry-After") == "" {
		t.Errorf("one more: got %d with %v, want 429 and when to try again", denied.Code, denied.Header())
	}
	group.Go(func() { serve(smallBody) })
	<-begun
	if answer := serve(0); answer.Code != http.StatusOK {
		t.Errorf("without a body: got %d", answer.Code)
	}
	close(end)
	group.Wait()
	if used := p.used.Load(); used != 0 {
		t.Errorf("after all have ended %d bytes are used", used)
	}
}
