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
	// other. The pod itself comes up again sooner and tries other nodes.
	firstBackoff = 5 * time.Second
	lastBackoff  = 2 * time.Minute

	// quickTries is how many refusals a pod takes before the pauses between its
	// attempts grow, and quickPause is the pause until then. From then on they
	// double from firstPause to lastPause, as kube-scheduler's own do.
	quickTries = 5
	quickPause = 20 * time.Millisecond
	firstPause = time.Second
	lastPause  = 10 * time.Second
)

// backoff remembers which nodes the host has refused to which pods. It only saves
// attempts: a start without it tries a node once more than necessary.
type backoff struct {
	clock clock.WithDelayedExecution

	mu   sync.Mutex
	pods map[types.UID]*refusals
	// missed are the pods that have found no node at all.
	missed map[types.UID]bool
}

// refusals are those of one pod.
type refusals struct {
	total int    // since the last node was added
	again func() // lets the scheduler try the pod
	nodes map[string]refusal
}

// refusal is what the host last said to a pod on a node.
type refusal struct {
	times  int
	until  time.Time
	reason string
}

func newBackoff(c clock.WithDelayedExecution) *backoff {
	return &backoff{clock: c, pods: map[types.UID]*refusals{}, missed: map[types.UID]bool{}}
}

// refused keeps the pod off the node for a while and calls again when it is over,
// and before that, for the pod to try its next node.
func (b *backoff) refused(pod types.UID, node, reason string, again func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.pods[pod]
	if r == nil {
		r = &refusals{nodes: map[string]refusal{}}
		b.pods[pod] = r
	}
	r.total++
	r.again = again
	next, times := r.pause(), r.nodes[node].times
	// Nodes that were refused come up again later than the next ones are tried, or
	// a pod that likes them best would never see any other.
	off := max(min(firstBackoff<<min(times, 10), lastBackoff), 2*next*time.Duration(len(r.nodes)+1))
	r.nodes[node] = refusal{times: times + 1, until: b.clock.Now().Add(off), reason: reason}
	b.clock.AfterFunc(next, again)
	b.clock.AfterFunc(next+firstPause, again) // the first may come before the scheduler has put the pod back
	b.clock.AfterFunc(off, again)
}

// pause is how long a pod that was refused waits for its next attempt.
func (r *refusals) pause() time.Duration {
	if r.total <= quickTries {
		return quickPause
	}
	return min(firstPause<<min(r.total-quickTries-1, 10), lastPause)
}

// added lets all pods that were refused try again at once, because there is a node
// that they have not tried.
func (b *backoff) added() {
	b.mu.Lock()
	var again []func()
	for _, r := range b.pods {
		r.total = 0
		again = append(again, r.again)
	}
	b.mu.Unlock()
	for _, call := range again {
		call()
	}
}

// reason is why the pod is kept off the node at the moment, empty if it is not.
func (b *backoff) reason(pod types.UID, node string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.pods[pod]
	if r == nil || !b.clock.Now().Before(r.nodes[node].until) {
		return ""
	}
	return r.nodes[node].reason
}

// roomier lets the pods that are kept off a node try it again, because it has more
// room than it had.
func (b *backoff) roomier(node string) {
	b.mu.Lock()
	var again []func()
	for _, r := range b.pods {
		if kept, was := r.nodes[node]; was && b.clock.Now().Before(kept.until) {
			kept.until = b.clock.Now()
			r.nodes[node] = kept
			again = append(again, r.again)
		}
	}
	b.mu.Unlock()
	for _, call := range again {
		call()
	}
}

// forget drops what is known of a pod that has a node or is gone.
func (b *backoff) forget(pod types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.pods, pod)
	delete(b.missed, pod)
}

// miss notes that no node was found for the pod.
func (b *backoff) miss(pod types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missed[pod] = true
}

// unlucky says whether an attempt to find a node for the pod has ever failed, by the
// host's word or before that.
func (b *backoff) unlucky(pod types.UID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.missed[pod] || b.pods[pod] != nil
}

// knows says whether a node was ever refused to the pod.
func (b *backoff) knows(pod types.UID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pods[pod] != nil
}
