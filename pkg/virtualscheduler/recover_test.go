package virtualscheduler

import (
	"context"
	"reflect"
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

// extensionPoints returns the calls of kube-scheduler that pass a pod to the plugin.
func extensionPoints(p *plugin) map[string]func(context.Context, *corev1.Pod) *fwk.Status {
	return map[string]func(context.Context, *corev1.Pod) *fwk.Status{
		"Filter":   func(ctx context.Context, pod *corev1.Pod) *fwk.Status { return p.Filter(ctx, nil, pod, nil) },
		"PreScore": func(ctx context.Context, pod *corev1.Pod) *fwk.Status { return p.PreScore(ctx, nil, pod, nil) },
		"PreBind":  func(ctx context.Context, pod *corev1.Pod) *fwk.Status { return p.PreBind(ctx, nil, pod, "a") },
		"Bind":     func(ctx context.Context, pod *corev1.Pod) *fwk.Status { return p.Bind(ctx, nil, pod, "a") },
		"PostFilter": func(ctx context.Context, pod *corev1.Pod) *fwk.Status {
			_, status := p.PostFilter(ctx, nil, pod, nil)
			return status
		},
		"Score": func(ctx context.Context, pod *corev1.Pod) *fwk.Status {
			_, status := p.Score(ctx, nil, pod, nil)
			return status
		},
		"SignPod": func(ctx context.Context, pod *corev1.Pod) *fwk.Status {
			_, status := p.SignPod(ctx, pod)
			return status
		},
		"PreBindPreFlight": func(ctx context.Context, pod *corev1.Pod) *fwk.Status {
			_, status := p.PreBindPreFlight(ctx, nil, pod, "a")
			return status
		},
	}
}

// TestPanicCostsOneAttempt checks that a panic at any extension point ends one attempt and not
// the process. It is counted, and the report shows it until the pod is bound.
func TestPanicCostsOneAttempt(t *testing.T) {
	t.Parallel()
	s := newStage(shopPod())
	s.plugin.pods, s.plugin.backoff = panickingLister{}, nil
	points := extensionPoints(s.plugin)
	for name, call := range points {
		before := panics(t, name)
		status := call(t.Context(), shopPod())
		if status.Code() != fwk.Error || !strings.Contains(status.Message(), "panicked in "+name) {
			t.Errorf("%s: got %v, want an error that names the panic", name, status)
		}
		if got := panics(t, name) - before; got != 1 {
			t.Errorf("%s: %v panics were counted, want 1", name, got)
		}
	}
	check := s.plugin.waiters.panics.check()
	if check.Healthy || check.Message != "Attempts of 1 pods end in a panic." || len(check.Details) != 1 {
		t.Errorf("the report has %+v", check)
	}
	s.updatePod(shopPod(boundTo("a")))
	if check := s.plugin.waiters.panics.check(); !check.Healthy {
		t.Errorf("the pod is bound, the report has %+v", check)
	}
	// A method with a pod that is new in the interfaces of kube-scheduler needs a barrier too.
	for method := range reflect.TypeFor[*plugin]().Methods() {
		for parameter := range method.Type.Ins() {
			if _, ok := points[method.Name]; !ok && parameter == reflect.TypeFor[*corev1.Pod]() {
				t.Errorf("extension point %s is not tested", method.Name)
			}
		}
	}
}

// TestPanicCostsOneEvent checks that a panic in a handler of a watch does not end the process.
func TestPanicCostsOneEvent(t *testing.T) {
	t.Parallel()
	s := newStage(shopPod())
	pods, nodes := panics(t, "pod event"), panics(t, "node event")
	s.plugin.waiters.backoff = nil
	s.plugin.waiters.podHandler().OnDelete(shopPod())
	s.plugin.waiters.nodeHandler().OnAdd(&corev1.Node{}, false)
	if pods, nodes = panics(t, "pod event")-pods, panics(t, "node event")-nodes; pods != 1 || nodes != 1 {
		t.Errorf("counted %v panics in pod events and %v in node events, want 1 each", pods, nodes)
	}
}

// panics returns how many panics were counted.
func panics(t *testing.T, point string) float64 {
	t.Helper()
	count, err := testutil.GetCounterMetricValue(panicCount().WithLabelValues(point))
	if err != nil {
		t.Fatal(err)
	}
	return count
}
