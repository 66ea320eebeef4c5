package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// NodeUsage knows what the pods of others ask of the host's nodes.
type NodeUsage interface {
	// Foreign is what they ask of a node, and false as long as nobody knows.
	Foreign(node string) (corev1.ResourceList, bool)
}

// offer leaves in a node's status what others have not taken: a tenant's node
// offers as much as the tenant can get. What others take of a resource may be more
// than the node has left of it after a resize; then it offers none.
//
// As long as usage is unknown, what the virtual node offered before stands, where
// the host still has as much.
func offer(status *corev1.NodeStatus, before corev1.ResourceList, usage NodeUsage, node string) {
	if usage == nil {
		return
	}
	foreign, known := usage.Foreign(node)
	// The list belongs to the host's node.
	left := make(corev1.ResourceList, len(status.Allocatable))
	for name, quantity := range status.Allocatable {
		if !known {
			if old, had := before[name]; had && old.Cmp(quantity) < 0 {
				quantity = old
			}
		} else if taken, some := foreign[name]; some {
			quantity = quantity.DeepCopy()
			quantity.Sub(taken)
			if quantity.Sign() < 0 {
				quantity = *resource.NewQuantity(0, quantity.Format)
			}
		}
		left[name] = quantity
	}
	status.Allocatable = left
}
