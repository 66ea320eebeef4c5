package syncer

import (
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
)

// gauge returns the value of a metric of the kind.
func (b *runnerBench) gauge(t *testing.T, of *metrics.GaugeVec) float64 {
	t.Helper()
	value, err := testutil.GetGaugeMetricValue(of.WithLabelValues(b.runner.kind.name))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestQueueMetricsMoveWhileWorkersHang(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	for i := range 5 {
		b.enqueue(types.NamespacedName{Namespace: "web", Name: strconv.Itoa(i)})
	}
	hanging, _ := b.queue.Get() // A worker takes a key and does not come back.
	b.enqueue(types.NamespacedName{Namespace: "web", Name: "late"})
	if got := b.gauge(t, processMetrics().queueDepth); got != 5 {
		t.Errorf("Five keys wait, the depth is %g", got)
	}
	b.clock.Step(3 * minTick)
	b.recordOldest()
	if got := b.gauge(t, processMetrics().oldestPending); got != (3 * minTick).Seconds() {
		t.Errorf("The oldest change is %s old, the metric is %g", 3*minTick, got)
	}
	deadline := time.After(awaitTimeout)
	for b.gauge(t, processMetrics().longestRunning) < (3 * minTick).Seconds() {
		select {
		case <-deadline:
			t.Fatalf("The longest reconcile must be seen, the metric is %g", b.gauge(t, processMetrics().longestRunning))
		case <-time.After(time.Millisecond):
			b.clock.Step(minTick)
		}
	}
	b.queue.Done(hanging)
}
