package kinds

import (
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// leavingPause is the time between two checks whether a host pod has left its node.
const leavingPause = 50 * time.Millisecond

// leavingLag is how much longer than its grace period the deletion of a host pod may take.
const leavingLag = 10 * time.Second

// quotaLag is how long a quota of the host may still count a deleted pod.
const quotaLag = 5 * time.Second

// isPodLeaving reports whether a host pod without a virtual pod is still on a node. The virtual
// scheduler has already reused its resources, for example after a preemption without a grace
// period. If the host were asked for the node now, it would refuse it. The wait ends leavingLag
// after the deletion of the host pod is due.
func (p *pods) isPodLeaving(s syncer.Scope, node string) (bool, error) {
	var onNode corev1.PodList
	err := s.Host.List(s.Context, &onNode, client.InNamespace(s.Cluster.Namespace),
		client.MatchingFields{nodes.ByNode: node}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return false, fmt.Errorf("cannot list host pods on node %s: %w", node, err)
	}
	var leaving []*corev1.Pod
	for i := range onNode.Items {
		host := &onNode.Items[i]
		key, uid, ours := translate.Origin(s.Cluster, translate.Hashed, host)
		if !ours || translate.IsFinished(host) {
			continue
		}
		var virtual corev1.Pod
		found, err := lookUp(s, syncer.Virtual, key, &virtual)
		if err != nil {
			return false, err
		}
		if !found || virtual.UID != uid {
			leaving = append(leaving, host)
		}
	}
	return p.leaving.observe(node, leaving, s.Now), nil
}

// leavingPods remembers since when host pods are leaving their nodes. It limits the wait if the host
// never begins to delete one. Losing it only costs a longer wait.
type leavingPods struct {
	mu    sync.Mutex
	nodes map[string]leavingNode // node -> what is about to leave it
}

// leavingNode has the leaving host pods of one node.
type leavingNode struct {
	seen  time.Time               // when one was last seen that was not overdue
	since map[types.UID]time.Time // host pod -> when it was seen first
}

func newLeavingPods() *leavingPods { return &leavingPods{nodes: map[string]leavingNode{}} }

// observe records which host pods are leaving a node. It reports whether at least one of them is not
// overdue. A refusal of the host counts as soon as all of them have been overdue for quotaLag: the host may
// never delete them.
func (l *leavingPods) observe(node string, pods []*corev1.Pod, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.nodes[node]
	if len(pods) == 0 {
		if now.Sub(before.seen) > quotaLag {
			delete(l.nodes, node)
		}
		return false
	}
	after := leavingNode{seen: before.seen, since: make(map[types.UID]time.Time, len(pods))}
	isAwaited := false
	for _, pod := range pods {
		since, ok := before.since[pod.UID]
		if !ok {
			since = now
		}
		after.since[pod.UID] = since
		due := since
		if pod.DeletionTimestamp != nil {
			due = pod.DeletionTimestamp.Time
		}
		isAwaited = isAwaited || !now.After(due.Add(leavingLag))
	}
	if isAwaited {
		after.seen = now
	}
	l.nodes[node] = after
	return isAwaited
}

// hasLeftRecently reports whether a pod that was not overdue was seen leaving a node within quotaLag.
func (l *leavingPods) hasLeftRecently(node string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	leaving, ok := l.nodes[node]
	return ok && now.Sub(leaving.seen) <= quotaLag
}
