package virtualscheduler

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// handed are the proposals that the syncer is told of in memory. Most pods get the
// first node that is picked for them within milliseconds, and a write to each pod's
// status that says so would cost more than the picking. Nothing depends on what
// lies here: from the moment on at which there is a host pod, that pod bears the
// proposal, and before that moment nobody has been asked.
type handed struct {
	changed func(pod types.NamespacedName)

	mu    sync.Mutex
	nodes map[types.UID]string
}

func newHanded(changed func(pod types.NamespacedName)) *handed {
	return &handed{changed: changed, nodes: map[types.UID]string{}}
}

// over hands a pod over until the function that it returns is called.
func (h *handed) over(pod *corev1.Pod, node string) (end func()) {
	h.mu.Lock()
	h.nodes[pod.UID] = node
	h.mu.Unlock()
	h.changed(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.nodes, pod.UID)
	}
}

// proposed is the node that a pod was handed over for, empty if none.
func (h *handed) proposed(pod types.UID) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.nodes[pod]
}
