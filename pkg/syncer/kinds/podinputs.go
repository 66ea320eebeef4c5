package kinds

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
)

// podInput has the watches for one thing that a host pod, or its status, depends on.
type podInput struct {
	isOn    bool
	indexes []syncer.Index
	watches []syncer.Watch
}

// inputs returns what pods depend on in addition to both pods.
func (p *pods) inputs() []podInput {
	return append(p.requiredInputs(), p.optionalInputs()...)
}

// requiredInputs returns those that no setting turns off.
func (p *pods) requiredInputs() []podInput {
	return []podInput{
		// A pod is bound in the virtual cluster once its node exists there.
		{isOn: true, indexes: []syncer.Index{nodes.HostPodsByNode()}, watches: []syncer.Watch{
			{Side: syncer.Virtual, Object: &corev1.Node{}, Keys: podsOnNode},
		}},
		{isOn: true, watches: []syncer.Watch{
			{Side: syncer.Host, Object: &corev1.ConfigMap{}, Keys: podsOfLinks},
			{Side: syncer.Host, Object: &corev1.Secret{}, Keys: noKeys},
		}},
		// Services and namespaces are read once per pod, when it is created.
		{isOn: true, watches: []syncer.Watch{
			{Side: syncer.Virtual, Object: &corev1.Service{}, Keys: noKeys},
			{Side: syncer.Virtual, Object: &corev1.Namespace{}, Keys: noKeys},
		}},
		p.topologyInput(),
	}
}

// optionalInputs returns those that settings turn on and off.
func (p *pods) optionalInputs() []podInput {
	sync := p.options.Sync
	return []podInput{
		{isOn: sync.IsEnabled(networkPoliciesSetting), watches: []syncer.Watch{
			{Side: syncer.Virtual, Object: &networkingv1.NetworkPolicy{}, StatusBlind: true, Keys: podsOfPolicy},
			{Side: syncer.Host, Object: &networkingv1.NetworkPolicy{}, StatusBlind: true, Keys: podsOfPolicyCopy},
		}},
		{isOn: p.showsEvents(), indexes: []syncer.Index{eventsByInvolved()}, watches: []syncer.Watch{
			{Side: syncer.Host, Object: &corev1.Event{}, All: true, Keys: noKeys},
		}},
		// Classes are read once per pod, when it is created.
		{isOn: sync.IsEnabled(runtimeClassesSetting), watches: []syncer.Watch{
			{Side: syncer.Host, Object: &nodev1.RuntimeClass{}, All: true, Keys: noKeys},
		}},
		{isOn: len(p.options.RuntimeHandlers) > 0, watches: []syncer.Watch{
			{Side: syncer.Virtual, Object: &nodev1.RuntimeClass{}, Keys: noKeys},
		}},
		{isOn: sync.IsEnabled(priorityClassesSetting), watches: []syncer.Watch{
			{Side: syncer.Host, Object: &schedulingv1.PriorityClass{}, All: true, Keys: noKeys},
		}},
		{isOn: sync.IsEnabled(serviceAccountsSetting), indexes: []syncer.Index{podsByAccount()}, watches: []syncer.Watch{
			{Side: syncer.Host, Object: &corev1.ServiceAccount{}, Keys: podsOfOriginal(byAccount)},
		}},
		{isOn: sync.IsEnabled(volumeClaimsSetting), indexes: []syncer.Index{podsByVolumeClaim()}, watches: []syncer.Watch{
			{Side: syncer.Host, Object: &corev1.PersistentVolumeClaim{}, Keys: podsOfOriginal(byVolumeClaim)},
			{Side: syncer.Virtual, Object: &corev1.PersistentVolumeClaim{}, Keys: noKeys},
		}},
		{isOn: sync.IsEnabled(policy.ResourceClaimsSetting), indexes: []syncer.Index{podsByResourceClaim()}, watches: []syncer.Watch{
			{Side: syncer.Host, Object: &resourcev1.ResourceClaim{}, Keys: podsOfOriginal(byResourceClaim)},
			{Side: syncer.Virtual, Object: &resourcev1.ResourceClaim{}, Keys: noKeys},
		}},
		// Device classes are read for pods with extended resources.
		{isOn: sync.IsEnabled(policy.DeviceClassesSetting), watches: []syncer.Watch{
			{Side: syncer.Host, Object: &resourcev1.DeviceClass{}, All: true, Keys: noKeys},
		}},
		// The resources of a node are read once per pod.
		{isOn: p.options.VirtualScheduler, watches: []syncer.Watch{
			{Side: syncer.Host, Object: &corev1.Node{}, All: true, Keys: noKeys},
		}},
	}
}
