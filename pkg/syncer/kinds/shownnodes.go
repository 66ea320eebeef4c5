package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// isNodeShown reports whether the tenant sees a node.
func isNodeShown(s syncer.Scope, name string) (bool, error) {
	return lookUp(s, syncer.Virtual, types.NamespacedName{Name: name}, &corev1.Node{})
}
