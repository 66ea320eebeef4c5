package kinds

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// byAddress is the field of the indexes of host pods and of virtual slices by address.
const byAddress = "address"

// OwnsAddress reports whether an address is that of a running pod of the virtual cluster without
// hostNetwork. It reads host pods, because a tenant can write any address into the status of a
// virtual pod. host must be the reader of [EndpointSlices].
func OwnsAddress(ctx context.Context, host client.Reader, cluster translate.Cluster, address string) (bool, error) {
	parsed, err := netip.ParseAddr(address)
	if err != nil {
		return false, nil //nolint:nilerr // It is no IP address.
	}
	var pods corev1.PodList
	err = host.List(ctx, &pods, client.InNamespace(cluster.Namespace),
		client.MatchingFields{byAddress: parsed.Unmap().String()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return false, fmt.Errorf("cannot list host pods by address: %w", err)
	}
	for i := range pods.Items {
		if _, _, ours := translate.Origin(cluster, translate.Hashed, &pods.Items[i]); ours {
			return true, nil
		}
	}
	return false, nil
}

// addressesOfPod returns the addresses of a pod without hostNetwork. It returns none for a finished
// pod, because the host may have assigned them to another pod.
func addressesOfPod(o client.Object) []string {
	pod, ok := o.(*corev1.Pod)
	if !ok || pod.Spec.HostNetwork || translate.IsFinished(pod) {
		return nil
	}
	return podAddresses(pod)
}

// podAddresses returns the addresses in the status of a pod.
func podAddresses(pod *corev1.Pod) []string {
	addresses := make([]string, 0, len(pod.Status.PodIPs))
	for _, ip := range pod.Status.PodIPs {
		if parsed, err := netip.ParseAddr(ip.IP); err == nil {
			addresses = append(addresses, parsed.Unmap().String())
		}
	}
	return addresses
}

// addressesOfSlice returns the addresses of a slice that may get a host copy.
func addressesOfSlice(o client.Object) []string {
	slice, ok := o.(*discoveryv1.EndpointSlice)
	if !ok || !translate.MayCopySlice(slice) {
		return nil
	}
	var addresses []string
	for _, endpoint := range slice.Endpoints {
		for _, address := range endpoint.Addresses {
			if parsed, err := netip.ParseAddr(address); err == nil {
				addresses = append(addresses, parsed.Unmap().String())
			}
		}
	}
	return addresses
}

// slicesOfPod returns the slices that contain an address of a host pod.
func slicesOfPod(s syncer.Scope, o client.Object) ([]types.NamespacedName, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok || pod.Spec.HostNetwork {
		return nil, nil
	}
	var keys []types.NamespacedName
	for _, address := range podAddresses(pod) {
		var slices discoveryv1.EndpointSliceList
		err := s.Virtual.List(s.Context, &slices, client.MatchingFields{byAddress: address}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, err
		}
		keys = append(keys, keysOf(slices.Items, nil)...)
	}
	return keys, nil
}
