package kinds

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// NetworkPolicies copies the tenant's NetworkPolicies to the host, whose network enforces them. A copy
// only allows what the release's own NetworkPolicies allow too. The pods that it selects get labels
// that exclude them from those policies, see [isolation].
func NetworkPolicies(o Options) syncer.Resource[*networkingv1.NetworkPolicy, *networkingv1.NetworkPolicy] {
	return syncer.Resource[*networkingv1.NetworkPolicy, *networkingv1.NetworkPolicy]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		Down: func(s syncer.Scope, virtual, host *networkingv1.NetworkPolicy) error {
			return fillHostPolicy(o, s, virtual, host)
		},
		Narrow: translate.NarrowPolicy,
		Also: []syncer.Watch{
			{Side: syncer.Virtual, Object: &corev1.Namespace{}, StatusBlind: true, Keys: policiesByNamespaces},
			{Side: syncer.Virtual, Object: &corev1.Service{}, StatusBlind: true, Keys: policiesOfService},
		},
	}
}

// fillHostPolicy fills in the host policy. With an [translate.UnsupportedError], host only has rules that may stay.
func fillHostPolicy(o Options, s syncer.Scope, virtual, host *networkingv1.NetworkPolicy) error {
	host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
	if violations := policy.EvaluateNetworkPolicySize(nil, virtual); len(violations) > 0 { // It is older than this limit.
		// Without the translation, nobody knows which of its rules the operator still allows.
		host.Spec.Ingress, host.Spec.Egress = nil, nil
		return &translate.UnsupportedError{Problems: []error{errors.New(policy.ShortMessage(violations))}}
	}
	in := translate.PolicyInput{
		Cluster:             s.Cluster,
		Workload:            o.NetworkPolicy.Workload,
		KubernetesServiceIP: o.KubernetesServiceIP,
		DNSServiceIP:        o.DNSServiceIP,
	}
	if translate.SelectsNamespaces(virtual) {
		var namespaces corev1.NamespaceList
		if err := s.Virtual.List(s.Context, &namespaces, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("cannot list namespaces: %w", err)
		}
		in.Namespaces = namespaces.Items
	}
	if len(virtual.Spec.Ingress) > 0 {
		var services corev1.ServiceList
		if err := s.Virtual.List(s.Context, &services, client.InNamespace(virtual.Namespace), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("cannot list Services of namespace %s: %w", virtual.Namespace, err)
		}
		in.Services = services.Items
	}
	var err error
	host.Spec, err = translate.NetworkPolicy(in, virtual)
	return err
}

// policiesByNamespaces returns the NetworkPolicies that select namespaces by labels.
func policiesByNamespaces(s syncer.Scope, _ client.Object) ([]types.NamespacedName, error) {
	return listPolicies(s, "", translate.SelectsNamespaces)
}

// policiesOfService returns the NetworkPolicies that may open the ports of an exposed
// Service.
func policiesOfService(s syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	if service, ok := object.(*corev1.Service); !ok || !translate.IsExposed(service) {
		return nil, nil
	}
	return listPolicies(s, object.GetNamespace(), func(p *networkingv1.NetworkPolicy) bool { return len(p.Spec.Ingress) > 0 })
}

// listPolicies returns the virtual NetworkPolicies of a namespace, or of all, that match.
func listPolicies(s syncer.Scope, namespace string, match func(*networkingv1.NetworkPolicy) bool) ([]types.NamespacedName, error) {
	var policies networkingv1.NetworkPolicyList
	if err := s.Virtual.List(s.Context, &policies, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list NetworkPolicies: %w", err)
	}
	return keysOf(policies.Items, match), nil
}
