package host

import (
	"context"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
)

// Replicas watches spec.replicas of the release's StatefulSet. An operator may scale it without
// changing the values.
type Replicas struct {
	client  kubernetes.Interface
	release release.Release
	clock   clock.Clock

	mu sync.Mutex
	// count is spec.replicas of the StatefulSet. It is valid once known is true.
	count int
	known bool
	// onChange are called when the number has changed.
	onChange []func(count int)
}

// NewReplicas returns a watch of the StatefulSet of a release.
func NewReplicas(client kubernetes.Interface, r release.Release, c clock.Clock) *Replicas {
	return &Replicas{client: client, release: r, clock: c}
}

// Count returns spec.replicas of the StatefulSet. ok is false if it was not read yet.
func (r *Replicas) Count() (count int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count, r.known
}

// OnChange registers f, which is called with each new number of replicas, and at once if the
// number is known.
func (r *Replicas) OnChange(f func(count int)) {
	r.mu.Lock()
	r.onChange = append(r.onChange, f)
	count, known := r.count, r.known
	r.mu.Unlock()
	if known {
		f(count)
	}
}

// Run watches the StatefulSet until ctx ends.
func (r *Replicas) Run(ctx context.Context) error {
	sets := &singleWatch[*appsv1.StatefulSet]{
		reader: r.client.AppsV1().StatefulSets(r.release.Namespace), name: r.release.StatefulSet(), clock: r.clock,
		changed: func(set *appsv1.StatefulSet) error { r.observe(set); return nil },
		failed: func(err error) {
			if err != nil {
				klog.V(2).InfoS("Cannot watch the StatefulSet of the control plane, retrying", "err", err)
			}
		},
	}
	sets.run(ctx)
	return nil
}

// observe records the replicas of a StatefulSet. It ignores nil, which means that there is none.
func (r *Replicas) observe(set *appsv1.StatefulSet) {
	if set == nil {
		return
	}
	count := 1
	if set.Spec.Replicas != nil {
		count = int(*set.Spec.Replicas)
	}
	r.mu.Lock()
	changed := !r.known || r.count != count
	r.count, r.known = count, true
	calls := append([]func(int){}, r.onChange...)
	r.mu.Unlock()
	if !changed {
		return
	}
	for _, call := range calls {
		call(count)
	}
}
