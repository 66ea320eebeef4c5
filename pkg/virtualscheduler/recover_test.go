package virtualscheduler

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/component-base/metrics/testutil"
	fwk "k8s.io/kube-scheduler/framework"
)

// panickingLister panics whenever it is read.
type panickingLister struct{ corelisters.PodLister }

func (panickingLister) Pods(string) corelisters.PodNamespaceLister { panic("broken cache") }

// TestPanicCostsOneAttempt checks that a panic of the plugin ends one attempt and not the
// process.
func TestPanicCostsOneAttempt(t *testing.T) {
	t.Parallel()
	s := newStage(shopPod())
	s.plugin.pods = panickingLister{}
	steps := map[string]func(context.Context, *corev1.Pod) *fwk.Status{
		"PreBind": func(ctx context.Context, pod *corev1.Pod) *fwk.Status { return s.plugin.PreBind(ctx, nil, pod, "a") },
		"Filter":  func(ctx context.Context, pod *corev1.Pod) *fwk.Status { return s.plugin.Filter(ctx, nil, pod, nil) },
	}
	for name, step := range steps {
		before := countPanics(t)
		status := step(t.Context(), shopPod())
		if status.Code() != fwk.Error || !strings.Contains(status.Message(), "panicked") {
			t.Errorf("%s: got %v, want an error that names the panic", name, status)
		}
		if got := countPanics(t) - before; got != 1 {
			t.Errorf("%s: counted %v panics, want 1", name, got)
		}
	}
}

// countPanics returns the value of the metric.
func countPanics(t *testing.T) float64 {
	t.Helper()
	count, err := testutil.GetCounterMetricValue(schedulerPanics())
	if err != nil {
		t.Fatal(err)
	}
	return count
}
