package virtualscheduler

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

const (
	// firstBackoff and lastBackoff are the shortest and the longest time that a pod
	// is kept off a node that the host refused it. They double from the one to the
	// other.
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
)

// backoff remembers which nodes the host has refused to which pods. It only saves
// attempts: a start without it tries a node once more than necessary.
type backoff struct {
	clock clock.WithDelayedExecution

	mu   sync.Mutex
	pods map[types.UID]map[string]refusal
}

// refusal is what the host last said to a pod on a node.
type refusal struct {
	times  int
	until  time.Time
	reason string
}

func newBackoff(c clock.WithDelayedExecution) *backoff {
	return &backoff{clock: c, pods: map[types.UID]map[string]refusal{}}
}

// refused keeps the pod off the node for a while and calls again when it is over.
func (b *backoff) refused(pod types.UID, node, reason string, again func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	nodes := b.pods[pod]
	if nodes == nil {
		nodes = map[string]refusal{}
		b.pods[pod] = nodes
	}
	times := nodes[node].times
	pause := min(firstBackoff<<min(times, 10), lastBackoff)
	nodes[node] = refusal{times: times + 1, until: b.clock.Now().Add(pause), reason: reason}
	b.clock.AfterFunc(pause, again)
}

// reason is why the pod is kept off the node at the moment, empty if it is not.
func (b *backoff) reason(pod types.UID, node string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.pods[pod][node]
	if !ok || !b.clock.Now().Before(r.until) {
		return ""
	}
	return r.reason
}

// forget drops what is known of a pod that has a node or is gone.
func (b *backoff) forget(pod types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.pods, pod)
}

// knows says whether a node was ever refused to the pod.
func (b *backoff) knows(pod types.UID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pods[pod]) > 0
}
