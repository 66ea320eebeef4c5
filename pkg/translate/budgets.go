package translate

import (
	"math"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// BudgetMinimum returns the minimum number of healthy pods of a PodDisruptionBudget, as the
// virtual disruption controller has computed it. The host cannot compute percentages and
// maxUnavailable itself, because it does not have the tenant's controllers. known is false
// until the controller has seen the budget. If the controller failed to compute the number,
// no pod may be disrupted, as in every cluster.
func BudgetMinimum(virtual *policyv1.PodDisruptionBudget) (minimum int32, known bool) {
	condition := meta.FindStatusCondition(virtual.Status.Conditions, policyv1.DisruptionAllowedCondition)
	switch {
	case condition != nil && condition.Reason == policyv1.SyncFailedReason:
		return math.MaxInt32, true
	case virtual.Status.ObservedGeneration < virtual.Generation:
		return 0, false
	}
	return virtual.Status.DesiredHealthy, condition != nil || virtual.Status.ObservedGeneration > 0
}

// BudgetSpec returns the spec of the host copy of a PodDisruptionBudget. It only selects pods of
// its virtual namespace. before is the current spec of the copy. Its MinAvailable stays until
// the virtual disruption controller has seen the change.
func BudgetSpec(c Cluster, virtual *policyv1.PodDisruptionBudget, before policyv1.PodDisruptionBudgetSpec) policyv1.PodDisruptionBudgetSpec {
	spec := policyv1.PodDisruptionBudgetSpec{
		MinAvailable:               before.MinAvailable,
		Selector:                   toHostSelector(c, []string{virtual.Namespace}, virtual.Spec.Selector),
		UnhealthyPodEvictionPolicy: virtual.Spec.UnhealthyPodEvictionPolicy,
	}
	if minimum, known := BudgetMinimum(virtual); known {
		spec.MinAvailable = new(intstr.FromInt32(minimum))
	}
	return spec
}
