package nameserver

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// retryInterval is the time between two attempts of a request.
const retryInterval = 500 * time.Millisecond

// waitingTransport retries a GET request until the API server responds. client-go backs off for
// up to 30 s after a failed watch. With this transport, the watch is open within half a second
// after the API server is available again.
type waitingTransport struct {
	next  http.RoundTripper
	clock clock.Clock
	// away is true while the API server does not respond. All clients share it.
	away *atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (t waitingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	for {
		response, err := t.next.RoundTrip(request)
		if err == nil && response.StatusCode < http.StatusInternalServerError {
			t.recordAnswer(ctx)
			return response, nil
		}
		if request.Method != http.MethodGet || ctx.Err() != nil {
			return response, err
		}
		t.recordOutage(ctx, err)
		if err == nil {
			_ = response.Body.Close()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.clock.After(retryInterval):
		}
	}
}

// recordOutage logs when the API server stops responding.
func (t waitingTransport) recordOutage(ctx context.Context, err error) {
	if t.away.CompareAndSwap(false, true) {
		klog.FromContext(ctx).Info("Virtual API server does not respond, answering with the names that are known", "err", err)
	}
}

// recordAnswer logs when the API server responds again.
func (t waitingTransport) recordAnswer(ctx context.Context) {
	if t.away.CompareAndSwap(true, false) {
		klog.FromContext(ctx).Info("Virtual API server responds again")
	}
}
