package controlplane

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-base/metrics"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/meter"
)

const (
	writeRateSetting = "policies.writes.bytesPerSecond"

	// smallestWrite is the size in bytes that smaller writes count as, because the disk syncs a
	// whole page.
	smallestWrite = 4 << 10
	// longestDelay is how long a write may be delayed. A write that would take longer is denied,
	// so that the client retries it.
	longestDelay = time.Second
)

// WriteLimit limits the bytes that requests from outside of the process write to the store. Each API
// server has its own limit. Deletes are not limited.
type WriteLimit struct {
	// BytesPerSecond is the sustained rate in bytes. 0 means no limit.
	BytesPerSecond int64
	// Burst is the number of bytes that may be written at once after a pause. 0 means
	// BytesPerSecond.
	Burst int64
}

// limitedWritesTotal is the metric of writes that had to wait or were denied.
var limitedWritesTotal = sync.OnceValue(func() *metrics.CounterVec { //nolint:gochecknoglobals // a metric is one per process
	return meter.CounterVec("sublet_limited_writes_total",
		"Writes of the tenant over "+writeRateSetting+", by outcome: delayed or denied.", "outcome")
})

// limitedWrites delays writes over the limit, and denies those that would wait long.
type limitedWrites struct {
	kubernetes.Interface
	limiter *rate.Limiter
	clock   clock.Clock
}

// wrap returns a store whose writes are bounded.
func (l WriteLimit) wrap(store kubernetes.Interface, clock clock.Clock) kubernetes.Interface {
	if l.BytesPerSecond <= 0 {
		return store
	}
	burst := l.Burst
	if burst <= 0 {
		burst = l.BytesPerSecond
	}
	return limitedWrites{Interface: store, clock: clock, limiter: rate.NewLimiter(rate.Limit(l.BytesPerSecond), int(burst))}
}

// OptimisticPut writes a key, after a delay if necessary. It returns a status with code 429 if the delay
// would exceed longestDelay.
func (w limitedWrites) OptimisticPut(ctx context.Context, key string, value []byte, expectedRevision int64, opts kubernetes.PutOptions,
) (kubernetes.PutResponse, error) {
	if !loopback.IsLoopback(ctx) {
		if err := w.wait(ctx, len(value)); err != nil {
			return kubernetes.PutResponse{}, err
		}
	}
	return w.Interface.OptimisticPut(ctx, key, value, expectedRevision, opts)
}

// wait returns when size bytes may be written.
func (w limitedWrites) wait(ctx context.Context, size int) error {
	now := w.clock.Now()
	turn := w.limiter.ReserveN(now, min(max(size, smallestWrite), w.limiter.Burst()))
	delay := turn.DelayFrom(now)
	if delay > longestDelay {
		turn.CancelAt(now)
		limitedWritesTotal().WithLabelValues("denied").Inc()
		return w.newTooManyWrites()
	}
	if delay == 0 {
		return nil
	}
	limitedWritesTotal().WithLabelValues("delayed").Inc()
	timer := w.clock.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C():
		return nil
	}
}

// newTooManyWrites returns the error that a client gets whose write is denied.
func (w limitedWrites) newTooManyWrites() *apierrors.StatusError {
	most := resource.NewQuantity(int64(w.limiter.Limit()), resource.BinarySI)
	return apierrors.NewTooManyRequests(fmt.Sprintf("the clients of this cluster write more than %s bytes a second. "+
		"Try again, or ask the operator of the host to raise %s", most, writeRateSetting), 1)
}
