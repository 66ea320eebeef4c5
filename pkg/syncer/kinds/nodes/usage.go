package nodes

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Usage knows the requests of foreign pods on the host's nodes.
type Usage interface {
	// Foreign returns the sum of their requests on a node with these allocatable
	// resources. ok is false until the usage is known.
	Foreign(node string, allocatable corev1.ResourceList) (requests corev1.ResourceList, ok bool)
}

// subtractForeignUsage subtracts the requests of foreign pods from the allocatable
// resources of a node, down to zero. After a resize they may exceed them.
//
// Until the usage is known, an allocatable amount of the virtual node stays if it
// is less than the host's.
func subtractForeignUsage(status *corev1.NodeStatus, before corev1.ResourceList, usage Usage, node string) {
	if usage == nil {
		return
	}
	foreign, known := usage.Foreign(node, status.Allocatable)
	// The list belongs to the host's node.
	left := make(corev1.ResourceList, len(status.Allocatable))
	for name, quantity := range status.Allocatable {
		if !known {
			if old, ok := before[name]; ok && old.Cmp(quantity) < 0 {
				quantity = old
			}
		} else if requested, ok := foreign[name]; ok {
			quantity = quantity.DeepCopy()
			quantity.Sub(requested)
			if quantity.Sign() < 0 {
				quantity = *resource.NewQuantity(0, quantity.Format)
			}
		}
		left[name] = quantity
	}
	status.Allocatable = left
}
