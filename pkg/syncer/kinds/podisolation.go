package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// isolation returns the directions in which the tenant's NetworkPolicies isolate a pod. A running pod is
// only isolated once the policy has a host copy. Otherwise the pod would briefly lose connections
// that the policy allows. A new pod is isolated from the start.
func isolation(s syncer.Scope, virtual, host *corev1.Pod) (translate.Isolation, error) {
	var policies networkingv1.NetworkPolicyList
	if err := s.Virtual.List(s.Context, &policies, client.InNamespace(virtual.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return translate.Isolation{}, fmt.Errorf("cannot list NetworkPolicies of namespace %s: %w", virtual.Namespace, err)
	}
	isolated := translate.Isolation{}
	for i := range policies.Items {
		by := translate.IsolationBy(&policies.Items[i], virtual.Labels)
		if by == (translate.Isolation{}) {
			continue
		}
		copied, err := hasCopy(s, &policies.Items[i])
		if err != nil {
			return translate.Isolation{}, err
		}
		applies := copied || host.UID == ""
		isolated.Ingress = isolated.Ingress || by.Ingress && (applies || host.Labels[labels.IsolatedIngress] != "")
		isolated.Egress = isolated.Egress || by.Egress && (applies || host.Labels[labels.IsolatedEgress] != "")
	}
	return isolated, nil
}

// hasCopy reports whether a virtual NetworkPolicy has a copy on the host.
func hasCopy(s syncer.Scope, policy *networkingv1.NetworkPolicy) (bool, error) {
	return lookUp(s, syncer.Host, translate.Hashed(s.Cluster, client.ObjectKeyFromObject(policy)), &networkingv1.NetworkPolicy{})
}

// podsOfPolicy returns the virtual pods that a virtual NetworkPolicy selects.
func podsOfPolicy(s syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	policy, ok := object.(*networkingv1.NetworkPolicy)
	if !ok {
		return nil, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
	if err != nil {
		return nil, nil //nolint:nilerr // The virtual API server has validated the selector.
	}
	var pods corev1.PodList
	err = s.Virtual.List(s.Context, &pods, client.InNamespace(policy.Namespace),
		client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("cannot list pods of namespace %s: %w", policy.Namespace, err)
	}
	return keysOf(pods.Items, nil), nil
}

// podsOfPolicyCopy returns the virtual pods that the original of a host NetworkPolicy
// selects.
func podsOfPolicyCopy(s syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	key, ours := provenOrigin(s, object)
	if !ours {
		return nil, nil
	}
	var policy networkingv1.NetworkPolicy
	if found, err := lookUp(s, syncer.Virtual, key, &policy); err != nil || !found {
		return nil, err
	}
	return podsOfPolicy(s, &policy)
}
