package nodes

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
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
// node, as a part of the host's, and hides what the settings hide by now.
func (o Options) keepForPods(s syncer.Scope, virtual *corev1.Node) (bool, error) {
	_, found, err := podOn(s, virtual.Name)
	if err != nil || !found {
		return found, err
	}
	return true, o.markUnselected(virtual)
}

// markUnselected taints a node that is no longer in the selection, and removes what the settings hide.
// The provider's ID and the pod CIDRs stay: no API server lets them change, and the node could
// not be created again.
func (o Options) markUnselected(virtual *corev1.Node) error {
	if virtual.Annotations == nil {
		virtual.Annotations = map[string]string{}
	}
	r := readRecord(virtual.Annotations)
	hideAnnotations(virtual, r, o.Nodes)
	virtual.Status = visibleStatus(virtual, o.Nodes)
	if !hasTaint(virtual.Spec.Taints, unselectedTaint()) {
		virtual.Spec.Taints = append(virtual.Spec.Taints, unselectedTaint())
		if r.lastApplied[taintsField] == nil {
			r.lastApplied[taintsField] = translate.LastApplied{}
		}
		r.lastApplied[taintsField][taintKey(unselectedTaint())] = ""
	}
	return r.write(virtual)
}

// hideAnnotations removes the annotations of the host that the settings do not show. Those of the
// tenant that they have hidden appear again.
func hideAnnotations(virtual *corev1.Node, r record, settings v1alpha1.Nodes) {
	visible := visibleAnnotations(virtual.Annotations, settings)
	for key := range r.lastApplied[annotationsField] {
		if _, shown := visible[key]; shown {
			continue
		}
		delete(r.lastApplied[annotationsField], key)
		delete(virtual.Annotations, key)
		if value, ok := r.hidden.Annotations[key]; ok {
			virtual.Annotations[key] = value
			delete(r.hidden.Annotations, key)
		}
	}
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
