package kinds

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// ResourceClaims copies the tenant's ResourceClaims to the host, whose scheduler allocates the devices.
// It never writes the status of a host claim.
func ResourceClaims(o Options) syncer.Resource[*resourcev1.ResourceClaim, *resourcev1.ResourceClaim] {
	c := resourceClaims{o}
	return syncer.Resource[*resourcev1.ResourceClaim, *resourcev1.ResourceClaim]{
		Owner:   syncer.Virtual,
		Names:   translate.Hashed,
		Down:    c.fillHost,
		Up:      fillVirtualResourceClaim,
		Indexes: []syncer.Index{podsByResourceClaim()},
		Also: []syncer.Watch{
			{Side: syncer.Virtual, Object: &corev1.Pod{}, Keys: claimsOfPod},
			// A claim is checked when its copy is created.
			{Side: syncer.Host, Object: &resourcev1.DeviceClass{}, All: true, Keys: noKeys},
		},
	}
}

// resourceClaims is the kind with its settings.
type resourceClaims struct{ options Options }

// fillHost fills in the host claim. Its spec never changes.
func (c resourceClaims) fillHost(s syncer.Scope, virtual, host *resourcev1.ResourceClaim) error {
	host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
	if host.UID != "" {
		return nil
	}
	// Admission denies it, unless it was stored before the policy.
	violations, err := c.options.Devices.Check("spec", &virtual.Spec, func(class string) (bool, error) {
		return isShown(s, c.options.Sync.SelectorOf(policy.DeviceClassesSetting), class, &resourcev1.DeviceClass{})
	})
	if err != nil {
		return err
	}
	if len(violations) > 0 {
		return &translate.UnsupportedError{Problems: []error{errors.New(policy.ShortMessage(violations))}}
	}
	host.Spec = virtual.Spec
	return nil
}

// fillVirtualResourceClaim copies the status and sets the finalizer while a pod of the tenant uses the
// claim. Otherwise it clears both, as Kubernetes does.
func fillVirtualResourceClaim(s syncer.Scope, host, virtual *resourcev1.ResourceClaim) error {
	consumers, err := virtualConsumers(s, host, virtual)
	if err != nil {
		return err
	}
	allocation := host.Status.Allocation
	if len(consumers) == 0 || allocation == nil {
		virtual.Status = resourcev1.ResourceClaimStatus{}
		controllerutil.RemoveFinalizer(virtual, resourcev1.Finalizer)
		return nil
	}
	if virtual.Status.Allocation != nil && !isSameAllocation(virtual.Status.Allocation, allocation) {
		// An allocation is immutable and must be removed first. The next reconcile writes the new one.
		virtual.Status = resourcev1.ResourceClaimStatus{}
		return nil
	}
	if virtual.DeletionTimestamp == nil {
		controllerutil.AddFinalizer(virtual, resourcev1.Finalizer)
	}
	virtual.Status.ReservedFor = consumers
	if virtual.Status.Allocation == nil {
		virtual.Status.Allocation = allocation
		virtual.Status.Allocation.Devices.Config = slices.DeleteFunc(allocation.Devices.Config, func(c resourcev1.DeviceAllocationConfiguration) bool {
			return c.Source != resourcev1.AllocationConfigSourceClaim
		})
	}
	names := statusNames(s, host, virtual)
	virtual.Status.Devices = host.Status.Devices
	for i := range virtual.Status.Devices {
		for j := range virtual.Status.Devices[i].Conditions {
			condition := &virtual.Status.Devices[i].Conditions[j]
			condition.Message = names.RewriteError(condition.Message)
		}
	}
	return nil
}

// isSameAllocation reports whether two allocations are of the same devices.
func isSameAllocation(a, b *resourcev1.AllocationResult) bool {
	return slices.EqualFunc(a.Devices.Results, b.Devices.Results, func(a, b resourcev1.DeviceRequestAllocationResult) bool {
		sameShare := a.ShareID == nil && b.ShareID == nil || a.ShareID != nil && b.ShareID != nil && *a.ShareID == *b.ShareID
		return a.Request == b.Request && a.Driver == b.Driver && a.Pool == b.Pool && a.Device == b.Device && sameShare
	})
}

// virtualConsumers returns the virtual pods for whose host pods a host claim is reserved, without pods
// that are done.
func virtualConsumers(s syncer.Scope, host, virtual *resourcev1.ResourceClaim) ([]resourcev1.ResourceClaimConsumerReference, error) {
	if len(host.Status.ReservedFor) == 0 {
		return nil, nil
	}
	var users corev1.PodList
	err := s.Virtual.List(s.Context, &users, client.InNamespace(virtual.Namespace), client.MatchingFields{byResourceClaim: virtual.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("cannot list pods of claim %s/%s: %w", virtual.Namespace, virtual.Name, err)
	}
	var consumers []resourcev1.ResourceClaimConsumerReference
	for _, reserved := range host.Status.ReservedFor {
		i := slices.IndexFunc(users.Items, func(pod corev1.Pod) bool { return hostName(s, pod.Namespace, pod.Name) == reserved.Name })
		if reserved.APIGroup == "" && reserved.Resource == "pods" && i >= 0 && !translate.IsPodDone(&users.Items[i]) {
			pod := &users.Items[i]
			consumers = append(consumers, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
		}
	}
	return consumers, nil
}

// claimsOfPod returns the claims that a pod uses.
func claimsOfPod(_ syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	var keys []types.NamespacedName
	names, _ := translate.ResourceClaims(pod)
	for _, name := range names {
		keys = append(keys, types.NamespacedName{Namespace: pod.Namespace, Name: name})
	}
	return keys, nil
}
