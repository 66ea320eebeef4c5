package virtualscheduler

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"
)

const (
	// firstBackoff and lastBackoff are the shortest and the longest time that a pod
	// is kept off a node after the host refused it there. The time doubles in
	// between. The pod itself tries other nodes sooner.
	firstBackoff = 5 * time.Second
	lastBackoff  = 2 * time.Minute

	// quickTries is how many refusals a pod takes before the pauses between its
	// attempts grow, and quickPause is the pause until then. After that they double
	// from firstPause to lastPause, as kube-scheduler's own do.
	quickTries = 5
	quickPause = 20 * time.Millisecond
	firstPause = time.Second
	lastPause  = 10 * time.Second

	// scoreStep is the age of a refusal that is worth one point of a node's score.
	scoreStep = 10 * time.Second
)

// nodeBackoff records which nodes the host has refused to which pods, and when a
// pod is tried again. Each pod has one timer at most, whatever it was refused.
//
// It only saves attempts: after a restart, a node is tried once more than necessary.
type nodeBackoff struct {
	clock clock.WithDelayedExecution

	mu sync.Mutex
	// pods is pod -> its refusals, until the pod is bound or gone.
	pods map[types.UID]*refusals
	// noNode has the pods for which an attempt has found no node at all.
	noNode map[types.UID]bool
}

// refusals are those of one pod.
type refusals struct {
	total int    // since the last node was added
	retry func() // lets the scheduler try the pod
	nodes map[string]refusal
	timer clock.Timer // the next attempt
}

// refusal is the host's last answer about a pod on a node.
type refusal struct {
	times  int
	at     time.Time
	until  time.Time // the pod is kept off the node
	reason string
}

// newNodeBackoff returns a backoff without refusals.
func newNodeBackoff(c clock.WithDelayedExecution) *nodeBackoff {
	return &nodeBackoff{clock: c, pods: map[types.UID]*refusals{}, noNode: map[types.UID]bool{}}
}

// recordRefusal keeps the pod off the node for a while and schedules its next
// attempt, at another node. That attempt replaces the one that was planned.
//
// If the scheduler has not put the pod back into its queue when retry is called, the retry is lost. A pod that
// is being bound is no longer in flight, so the scheduler remembers no activation of it. It then tries
// the pod after its own backoff, as it does after each failed binding.
func (b *nodeBackoff) recordRefusal(pod types.UID, node, reason string, retry func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.pods[pod]
	if r == nil {
		r = &refusals{nodes: map[string]refusal{}}
		b.pods[pod] = r
	}
	r.total++
	r.retry = retry
	now, times := b.clock.Now(), r.nodes[node].times
	off := min(firstBackoff<<min(times, 10), lastBackoff)
	r.nodes[node] = refusal{times: times + 1, at: now, until: now.Add(off), reason: reason}
	b.scheduleRetry(r, r.pause())
}

// recordNoNode records that an attempt has found no node for the pod. If the pod is
// kept off nodes, the next attempt is when the first of them is free for it again.
func (b *nodeBackoff) recordNoNode(pod types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noNode[pod] = true
	r := b.pods[pod]
	if r == nil {
		return
	}
	now := b.clock.Now()
	next := time.Duration(-1)
	for _, kept := range r.nodes {
		if wait := kept.until.Sub(now); wait > 0 && (next < 0 || wait < next) {
			next = wait
		}
	}
	if next >= 0 {
		b.scheduleRetry(r, max(next, r.pause()))
	}
}

// scheduleRetry sets the pod's one timer. The caller holds the lock.
func (b *nodeBackoff) scheduleRetry(r *refusals, after time.Duration) {
	r.stop()
	r.timer = b.clock.AfterFunc(after, r.retry)
}

// stop ends the timer, if there is one.
func (r *refusals) stop() {
	if r.timer != nil {
		r.timer.Stop()
	}
}

// pause returns how long the pod waits for its next attempt.
func (r *refusals) pause() time.Duration {
	if r.total <= quickTries {
		return quickPause
	}
	return min(firstPause<<min(r.total-quickTries-1, 10), lastPause)
}

// retryAll lets all pods that were refused try again at once, because there is a
// node that they have not tried.
func (b *nodeBackoff) retryAll() {
	b.retryWhere(func(r *refusals) bool {
		r.total = 0
		return true
	})
}

// retryNode lets the pods that are kept off a node try it again, because it has
// more room than it had.
func (b *nodeBackoff) retryNode(node string) {
	now := b.clock.Now()
	b.retryWhere(func(r *refusals) bool {
		kept, ok := r.nodes[node]
		if !ok || !now.Before(kept.until) {
			return false
		}
		kept.until = now
		r.nodes[node] = kept
		return true
	})
}

// retryWhere lets pods with matching refusals try again at once. match may change the
// refusals.
func (b *nodeBackoff) retryWhere(match func(*refusals) bool) {
	b.mu.Lock()
	var retries []func()
	for _, r := range b.pods {
		if match(r) {
			retries = append(retries, r.retry)
		}
	}
	b.mu.Unlock()
	for _, retry := range retries {
		retry()
	}
}

// refusalReason returns why the pod is kept off the node at the moment, empty if it
// is not.
func (b *nodeBackoff) refusalReason(pod types.UID, node string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.pods[pod]
	if r == nil || !b.clock.Now().Before(r.nodes[node].until) {
		return ""
	}
	return r.nodes[node].reason
}

// score returns how good the node is as the pod's next attempt. A node that never refused
// the pod gets the most, if the pod has volumes there or nowhere. Otherwise it gets three
// quarters. Nodes that refused it get at most half, and more for older refusals.
func (b *nodeBackoff) score(pod types.UID, node string, volumeNodes []string) int64 {
	age, ok := b.refusedSince(pod, node)
	switch {
	case ok:
		return min(int64(age/scoreStep), fwk.MaxScore/2)
	case len(volumeNodes) > 0 && !slices.Contains(volumeNodes, node):
		return fwk.MaxScore * 3 / 4
	}
	return fwk.MaxScore
}

// refusedSince returns the age of the host's last refusal of the pod on the node. ok is
// false if there was none.
func (b *nodeBackoff) refusedSince(pod types.UID, node string) (age time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.pods[pod]
	if r == nil {
		return 0, false
	}
	last, ok := r.nodes[node]
	return b.clock.Since(last.at), ok
}

// forget drops a pod that is bound or gone, with its timer.
func (b *nodeBackoff) forget(pod types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.pods[pod]; r != nil {
		r.stop()
	}
	delete(b.pods, pod)
	delete(b.noNode, pod)
}

// hasFailed reports whether an attempt to find a node for the pod has ever failed,
// by the host's answer or before it was asked.
func (b *nodeBackoff) hasFailed(pod types.UID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.noNode[pod] || b.pods[pod] != nil
}

// wasRefused reports whether the host has ever refused a node to the pod.
func (b *nodeBackoff) wasRefused(pod types.UID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pods[pod] != nil
}
