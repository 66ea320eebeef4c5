package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// isNodeShown reports whether the tenant sees a node.
func isNodeShown(s syncer.Scope, name string) (bool, error) {
	err := s.Virtual.Get(s.Context, types.NamespacedName{Name: name}, &corev1.Node{}, client.UnsafeDisableDeepCopy)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("cannot get virtual node %s: %w", name, err)
	}
	return err == nil, nil
}
