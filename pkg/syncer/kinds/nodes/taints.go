package nodes

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// controlPlaneTaint is the key of the taint that keeps pods off nodes of a control plane.
const controlPlaneTaint = "node-role.kubernetes.io/control-plane"

// isControlPlane reports whether a host node is one of the control plane that no pod of
// the tenant may use. It goes by the taint: on a host of one node the control plane may have
// the role without the taint.
func (o Options) isControlPlane(host *corev1.Node) bool {
	return slices.ContainsFunc(host.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Key == controlPlaneTaint && taint.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(o.Tolerations, taint)
	})
}

// visibleTaints returns the taints of a host node that a pod has to tolerate by itself. The
// others would keep the tenant's scheduler and DaemonSets off a node that they may use.
func visibleTaints(taints []corev1.Taint, tolerations []corev1.Toleration) []corev1.Taint {
	if len(tolerations) == 0 {
		return taints
	}
	return slices.DeleteFunc(slices.Clone(taints), func(taint corev1.Taint) bool { return tolerates(tolerations, taint) })
}

// tolerates reports whether one of the tolerations matches a taint.
func tolerates(tolerations []corev1.Toleration, taint corev1.Taint) bool {
	return slices.ContainsFunc(tolerations, func(t corev1.Toleration) bool {
		return t.ToleratesTaint(klog.Background(), &taint, false)
	})
}
