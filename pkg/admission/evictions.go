package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// addEvictionChecks lets an eviction ask the budgets of the host too, the operator's among
// them. The virtual API server then asks those of the tenant.
func addEvictionChecks(checks Checks, settings *v1alpha1.Config, host HostView) {
	if !settings.Sync.IsEnabled("sync.toHost.podDisruptionBudgets") {
		return
	}
	checks.Add(corev1.Resource("pods"), func(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (Judgement, error) {
		if a.GetSubresource() != "eviction" || a.GetOperation() != admission.Create {
			return Judgement{}, nil
		}
		err := host.MayEvict(ctx, types.NamespacedName{Namespace: a.GetNamespace(), Name: a.GetName()})
		switch {
		case err == nil:
			return Judgement{}, nil
		case apierrors.IsTooManyRequests(err):
			// Without a time to wait, which client libraries would spend before they return the
			// error. A virtual budget names none either.
			return Judgement{}, apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget on the host.", 0)
		}
		return Judgement{}, unknownHost(a, err)
	})
}
