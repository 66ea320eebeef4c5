package virtualscheduler

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// memoryProposals are the proposals that the syncer gets in memory. Most pods get
// the first node that is picked for them within milliseconds. A write to each pod's
// status would cost more than the picking.
//
// Nothing depends on what is kept here. Once there is a host pod, it carries the
// proposal, and before that nobody has been asked.
type memoryProposals struct {
	changed func(pod types.NamespacedName)

	mu    sync.Mutex
	nodes map[types.UID]string // pod -> proposed node
}

// newMemoryProposals returns proposals that report each change to changed.
func newMemoryProposals(changed func(pod types.NamespacedName)) *memoryProposals {
	return &memoryProposals{changed: changed, nodes: map[types.UID]string{}}
}

// propose passes the pod's node to the syncer. The returned function withdraws it.
func (p *memoryProposals) propose(pod *corev1.Pod, node string) (withdraw func()) {
	p.mu.Lock()
	p.nodes[pod.UID] = node
	p.mu.Unlock()
	p.changed(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.nodes, pod.UID)
	}
}

// proposed returns the node that is proposed for a pod, empty if none.
func (p *memoryProposals) proposed(pod types.UID) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nodes[pod]
}
