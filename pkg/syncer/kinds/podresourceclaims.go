package kinds

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// resourceClaimPause is the shortest time between two checks of a claim that is not that of its host copy.
// Most waits end earlier, with an event of the host. The time grows with the age of the pod.
const resourceClaimPause = 10 * time.Second

// awaitsResourceClaims reports whether a pod waits for ResourceClaims that are created from templates, or for
// the host copies of its ResourceClaims. Without them the host pod would be unschedulable, or get the devices
// of an earlier claim of the same name.
func (p *pods) awaitsResourceClaims(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
	if !p.usesResourceClaims(virtual) {
		return false, nil
	}
	names, complete := translate.ResourceClaims(virtual)
	if !complete {
		return true, nil
	}
	for _, name := range names {
		problem, hasCopy, err := readResourceClaim(s, virtual.Namespace, name)
		if problem != "" && hasCopy {
			s.RequeueAfter(max(resourceClaimPause, s.Now.Sub(virtual.CreationTimestamp.Time)/referenceGrowth))
		}
		if err != nil || problem != "" || !hasCopy {
			return err == nil, err
		}
	}
	return false, nil
}

// checkResourceClaims returns an error for a pod that would get the devices of another claim. Like checkVolumes, it
// goes by the API server: the cache may still show a claim that was deleted and created again.
func (p *pods) checkResourceClaims(s syncer.Scope, virtual *corev1.Pod) error {
	if !p.usesResourceClaims(virtual) {
		return nil
	}
	s.Virtual = s.LiveVirtual
	names, _ := translate.ResourceClaims(virtual)
	for _, name := range names {
		problem, _, err := readResourceClaim(s, virtual.Namespace, name)
		if err != nil {
			return err
		}
		if problem != "" {
			return &translate.UnsupportedError{Problems: []error{fmt.Errorf("spec.resourceClaims: %s", problem)}}
		}
	}
	return nil
}

// usesResourceClaims reports whether a pod has ResourceClaims that are copied to the host.
func (p *pods) usesResourceClaims(virtual *corev1.Pod) bool {
	return len(virtual.Spec.ResourceClaims) > 0 && p.options.Sync.IsEnabled(policy.ResourceClaimsSetting)
}

// readResourceClaim returns why a pod must not use a ResourceClaim, empty if it may. hasCopy reports whether the
// host has an object under the name of the copy.
func readResourceClaim(s syncer.Scope, namespace, name string) (problem string, hasCopy bool, err error) {
	var claim, copied resourcev1.ResourceClaim
	exists, err := lookUp(s, syncer.Virtual, types.NamespacedName{Namespace: namespace, Name: name}, &claim)
	if err != nil {
		return "", false, err
	}
	hasCopy, err = lookUp(s, syncer.Host, types.NamespacedName{Namespace: s.Cluster.Namespace, Name: hostName(s, namespace, name)}, &copied)
	switch {
	case err != nil:
		return "", false, err
	case !exists && hasCopy, exists && claim.DeletionTimestamp != nil:
		problem = fmt.Sprintf(claimDeleted, name)
	case hasCopy && copied.Annotations[labels.VirtualUID] != string(claim.UID):
		problem = fmt.Sprintf(claimReplaced, name)
	}
	return problem, hasCopy, nil
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
