package nodes

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// unselectedTaint returns the taint of a virtual node that pods of the tenant run on and that
// is no longer in the selection. Nothing new is meant to get there.
func unselectedTaint() corev1.Taint {
	return corev1.Taint{Key: labels.NotSelected, Effect: corev1.TaintEffectNoSchedule}
}

// keepForPods reports whether pods of the tenant run on a node that is no longer in the
// selection. Without the node, its pods would have no logs and no endpoints. It taints the
// node, as a part of the host's.
func keepForPods(s syncer.Scope, virtual *corev1.Node) (bool, error) {
	_, found, err := podOn(s, virtual.Name)
	if err != nil || !found || hasTaint(virtual.Spec.Taints, unselectedTaint()) {
		return found, err
	}
	r := readRecord(virtual.Annotations)
	virtual.Spec.Taints = append(virtual.Spec.Taints, unselectedTaint())
	if r.lastApplied[taintsField] == nil {
		r.lastApplied[taintsField] = translate.LastApplied{}
	}
	r.lastApplied[taintsField][taintKey(unselectedTaint())] = ""
	return true, r.write(virtual)
}

// keysOfUnselected returns the keys of the virtual nodes outside of the selection that depend on
// a host pod, in addition to those that others returns. others may be nil.
func keysOfUnselected(others keysFunc) keysFunc {
	return func(s syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
		keys, err := nodeOfPod(s, object)
		if err != nil || len(keys) == 0 {
			return nil, err
		}
		err = s.Host.Get(s.Context, keys[0], &corev1.Node{}, client.UnsafeDisableDeepCopy)
		switch {
		case apierrors.IsNotFound(err):
			return keys, nil
		case err != nil:
			return nil, fmt.Errorf("cannot get host node %s: %w", keys[0].Name, err)
		case others == nil:
			return nil, nil
		}
		return others(s, object)
	}
}
