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

// leavingPause is the time between two looks at a host pod that is about to leave.
const leavingPause = 50 * time.Millisecond

// leavingLag is how long the host may take with a pod whose deletion is due.
const leavingLag = 10 * time.Second

// quotaLag is how long a quota of the host may count a pod that has left.
const quotaLag = 5 * time.Second

// isPodLeaving reports whether a host pod is about to leave a node, whose virtual pod is
// gone. The virtual scheduler has counted on its room already, for example after it has
// preempted a pod without a grace period. If the host were asked before, it would refuse,
// and its answer could be read when the room is there. The wait ends when the host's
// deletion is due.
func (p pods) isPodLeaving(s syncer.Scope, node string) (bool, error) {
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

// leavingPods remembers since when host pods are about to leave. The host may never begin
// to delete one, and then nothing else shows for how long others wait for it. Losing it
// costs a longer wait.
type leavingPods struct {
	mu    sync.Mutex
	nodes map[string]leavingNode // node -> what is about to leave it
}

// leavingNode is what was last seen of a node.
type leavingNode struct {
	last  time.Time
	since map[types.UID]time.Time // host pod -> when it was seen first
}

func newLeavingPods() *leavingPods { return &leavingPods{nodes: map[string]leavingNode{}} }

// observe records which host pods are about to leave a node. It reports whether one of
// them is not overdue.
func (l *leavingPods) observe(node string, pods []*corev1.Pod, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.nodes[node]
	if len(pods) == 0 {
		if now.Sub(before.last) > quotaLag {
			delete(l.nodes, node)
		}
		return false
	}
	after := leavingNode{last: now, since: make(map[types.UID]time.Time, len(pods))}
	found := false
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
		found = found || !now.After(due.Add(leavingLag))
	}
	l.nodes[node] = after
	return found
}

// hasLeftRecently reports whether a pod has left a node a moment ago, or is about to.
func (l *leavingPods) hasLeftRecently(node string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, ok := l.nodes[node]
	return ok && now.Sub(last.last) <= quotaLag
}
