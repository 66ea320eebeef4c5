package virtualscheduler

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/meter"
)

// maxPanicking is the maximum number of pods whose panics are kept, and maxDetails how many of
// them the check names.
const (
	maxPanicking = 1000
	maxDetails   = 10
)

// panicCount returns the metric of panics. It registers the metric when it is first needed.
//
//nolint:gochecknoglobals // Metrics are the process's; it is written once, by sync.OnceValue.
var panicCount = sync.OnceValue(func() *metrics.CounterVec {
	return meter.CounterVec("sublet_scheduler_panics_total", "Panics in the plugin of the virtual scheduler, by extension point.", "extension_point")
})

// attemptPanics has the pods with an attempt that ended in a panic, until they are bound or gone.
type attemptPanics struct {
	mu   sync.Mutex
	pods map[types.UID]string // pod -> last panic
}

func newAttemptPanics() *attemptPanics { return &attemptPanics{pods: map[types.UID]string{}} }

// record records the panic of an attempt.
func (p *attemptPanics) record(pod types.UID, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.pods[pod]; ok || len(p.pods) < maxPanicking {
		p.pods[pod] = text
	}
}

// forget drops a pod that is bound or gone.
func (p *attemptPanics) forget(pod types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pods, pod)
}

// check returns the check of the virtual scheduler in the health report.
func (p *attemptPanics) check() syncz.Check {
	p.mu.Lock()
	defer p.mu.Unlock()
	check := syncz.Check{Name: "virtual scheduler", Healthy: len(p.pods) == 0, Message: "No attempt ends in a panic."}
	if check.Healthy {
		return check
	}
	check.Message = fmt.Sprintf("Attempts of %d pods end in a panic.", len(p.pods))
	check.Details = slices.Sorted(maps.Values(p.pods))
	check.Details = check.Details[:min(len(check.Details), maxDetails)]
	return check
}

// recoverAttempt turns a panic of the plugin at an extension point into the failure of one
// attempt. It must be deferred directly. kube-scheduler calls plugins in goroutines that recover
// from nothing, so that a panic would end the process, with the API server in it.
func (p *plugin) recoverAttempt(ctx context.Context, point string, pod *corev1.Pod, status **fwk.Status) {
	cause := recover()
	if cause == nil {
		return
	}
	err := fmt.Errorf("cannot schedule pod %s: the plugin %s panicked in %s: %v", klog.KObj(pod), pluginName, point, cause)
	klog.FromContext(ctx).Error(err, "Recovered from a panic", "pod", klog.KObj(pod), "stack", string(debug.Stack()))
	panicCount().WithLabelValues(point).Inc()
	p.waiters.panics.record(pod.UID, err.Error())
	*status = fwk.AsStatus(err)
}

// recoverEvent limits a panic to one event of a watch, or to one timer. It must be deferred
// directly.
func recoverEvent(point string) {
	if cause := recover(); cause != nil {
		klog.Background().Error(fmt.Errorf("cannot handle %s: panic: %v", point, cause), "Recovered from a panic", "stack", string(debug.Stack()))
		panicCount().WithLabelValues(point).Inc()
	}
}
