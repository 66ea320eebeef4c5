package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// addEvictionChecks adds a check of the host's PodDisruptionBudgets to evictions, including those of the
// operator. The virtual API server itself checks those of the tenant.
func addEvictionChecks(checks Checks, settings *v1alpha1.Config, host HostView) {
	if !settings.Sync.IsEnabled("sync.toHost.podDisruptionBudgets") {
		return
	}
	checks.Add(corev1.Resource("pods"), func(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (Decision, error) {
		if a.GetSubresource() != "eviction" || a.GetOperation() != admission.Create {
			return Decision{}, nil
		}
		err := host.MayEvict(ctx, types.NamespacedName{Namespace: a.GetNamespace(), Name: a.GetName()})
		switch {
		case err == nil:
			return Decision{}, nil
		case apierrors.IsTooManyRequests(err):
			return Decision{}, newHostBudgetError()
		}
		return Decision{}, unknownHost(a, err)
	})
}

// newHostBudgetError returns the error of an eviction that a budget of the host denies. It has the cause
// DisruptionBudget, which clients expect, but not the name of the budget. Like the error of a virtual
// budget, it has no Retry-After, because client libraries would wait before they return it.
func newHostBudgetError() *apierrors.StatusError {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget on the host.", 0)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: policyv1.DisruptionBudgetCause, Message: "A disruption budget of the host needs more healthy pods.",
	}}
	return err
}
