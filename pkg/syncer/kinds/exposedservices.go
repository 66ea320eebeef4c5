package kinds

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// ExposedServices creates a host NetworkPolicy for each Service of type NodePort or LoadBalancer. It
// opens the target ports of the Service, which the release's own NetworkPolicies close.
func ExposedServices(o Options) syncer.Resource[*corev1.Service, *networkingv1.NetworkPolicy] {
	return syncer.Resource[*corev1.Service, *networkingv1.NetworkPolicy]{
		Owner: syncer.Virtual,
		Names: translate.Derived(translate.ExposedRole),
		Want: func(_ syncer.Scope, virtual *corev1.Service, _ *networkingv1.NetworkPolicy) (bool, error) {
			return o.NetworkPolicy.Enabled && translate.IsExposed(virtual), nil
		},
		Down: func(s syncer.Scope, virtual *corev1.Service, host *networkingv1.NetworkPolicy) error {
			host.Spec = translate.ExposedPolicy(s.Cluster, virtual)
			return nil
		},
		Narrow:      translate.NarrowPolicy,
		StatusBlind: true,
	}
}
