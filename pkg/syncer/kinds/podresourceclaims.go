package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// awaitsResourceClaims reports whether a pod waits for ResourceClaims that are created from templates, or for
// the host copies of its ResourceClaims. Without them the host pod would be unschedulable.
func (p *pods) awaitsResourceClaims(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
	if len(virtual.Spec.ResourceClaims) == 0 || !p.options.Sync.IsEnabled(policy.ResourceClaimsSetting) {
		return false, nil
	}
	names, complete := translate.ResourceClaims(virtual)
	if !complete {
		return true, nil
	}
	for _, name := range names {
		key := types.NamespacedName{Namespace: s.Cluster.Namespace, Name: hostName(s, virtual.Namespace, name)}
		if found, err := lookUp(s, syncer.Host, key, &resourcev1.ResourceClaim{}); err != nil || !found {
			return err == nil, err
		}
	}
	return false, nil
}

// deviceResources returns the extended resources that the host's device classes define. It returns none
// unless device classes are synced.
func (p *pods) deviceResources(s syncer.Scope) (policy.DeviceResources, error) {
	if !p.options.Sync.IsEnabled(policy.DeviceClassesSetting) {
		return policy.DeviceResources{}, nil
	}
	var classes resourcev1.DeviceClassList
	if err := s.Host.List(s.Context, &classes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list device classes of the host: %w", err)
	}
	return policy.NewDeviceResources(classes.Items, p.options.Sync.SelectorOf(policy.DeviceClassesSetting)), nil
}
