package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// budgetsSetting is the path of the settings of the tenant's PodDisruptionBudgets.
const budgetsSetting = "sync.toHost.podDisruptionBudgets"

// byTopology is the field of the indexes of virtual objects that select pods by their zone or region.
// All of them have the value topologyValue.
const byTopology, topologyValue = "selectsTopology", "true"

// topologySelectors returns an empty object of each virtual kind that selects pods on the host.
func (p *pods) topologySelectors() []client.Object {
	all := []client.Object{&corev1.Pod{}, &corev1.Service{}}
	if p.options.Sync.IsEnabled(networkPoliciesSetting) {
		all = append(all, &networkingv1.NetworkPolicy{})
	}
	if p.options.Sync.IsEnabled(budgetsSetting) {
		all = append(all, &policyv1.PodDisruptionBudget{})
	}
	return all
}

// topologyInput returns the watches of selectors that name the zone or region of pods.
func (p *pods) topologyInput() podInput {
	in := podInput{isOn: true}
	for _, object := range p.topologySelectors() {
		in.indexes = append(in.indexes, syncer.Index{Side: syncer.Virtual, Object: object, Field: byTopology, Values: topologyValues})
		in.watches = append(in.watches, syncer.Watch{Side: syncer.Virtual, Object: object, StatusBlind: true, Keys: podsWithTopology})
	}
	return in
}

// topologyValues returns the values of byTopology.
func topologyValues(object client.Object) []string {
	if translate.SelectsTopology(object) {
		return []string{topologyValue}
	}
	return nil
}

// podsWithTopology returns the pods with a zone or region, if an object selects pods by them. A pod
// that has a node no longer needs its affinity.
func podsWithTopology(s syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	if pod, ok := object.(*corev1.Pod); ok && pod.Spec.NodeName != "" || !translate.SelectsTopology(object) {
		return nil, nil
	}
	var all corev1.PodList
	if err := s.Virtual.List(s.Context, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list virtual pods: %w", err)
	}
	return keysOf(all.Items, translate.HasTopology), nil
}

// hasTopologySelector reports whether an object of the tenant selects pods by their zone or region. It
// only looks if the host pod lacks such a label.
func (p *pods) hasTopologySelector(s syncer.Scope, virtual, host *corev1.Pod) (bool, error) {
	if !translate.LacksTopology(virtual, host) {
		return false, nil
	}
	for _, object := range p.topologySelectors() {
		list, err := newList(object)
		if err != nil {
			return false, err
		}
		err = s.Virtual.List(s.Context, list, client.MatchingFields{byTopology: topologyValue}, client.Limit(1), client.UnsafeDisableDeepCopy)
		if err != nil {
			return false, fmt.Errorf("cannot list what selects pods by zone: %w", err)
		}
		if meta.LenList(list) > 0 {
			return true, nil
		}
	}
	return false, nil
}
