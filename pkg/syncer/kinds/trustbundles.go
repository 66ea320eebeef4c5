package kinds

import (
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TrustBundles creates a host ConfigMap for each host pod that mounts trust bundles. It has one key for
// each selection of the tenant's ClusterTrustBundles, with their current certificates.
func TrustBundles(_ Options) syncer.Resource[*corev1.Pod, *corev1.ConfigMap] {
	return syncer.Resource[*corev1.Pod, *corev1.ConfigMap]{
		Owner: syncer.Virtual,
		Names: translate.Derived(translate.TrustRole),
		Want:  shouldHaveTrust,
		Down:  fillTrust,
		// A finished pod keeps its bundles until it is gone.
		StatusBlind: true,
		Indexes: []syncer.Index{{
			Side: syncer.Virtual, Object: &corev1.Pod{}, Field: mountsTrust,
			Values: func(object client.Object) []string {
				if pod, ok := object.(*corev1.Pod); !ok || len(translate.TrustRequests(pod)) == 0 {
					return nil
				}
				return []string{"true"}
			},
		}},
		Also: []syncer.Watch{{Side: syncer.Virtual, Object: &certificatesv1.ClusterTrustBundle{}, Keys: podsOfBundle}},
	}
}

// mountsTrust is the index of the virtual pods that mount trust bundles.
const mountsTrust = "trustbundles"

// shouldHaveTrust reports whether a pod needs a ConfigMap with trust bundles.
func shouldHaveTrust(_ syncer.Scope, virtual *corev1.Pod, host *corev1.ConfigMap) (bool, error) {
	if len(translate.TrustRequests(virtual)) == 0 {
		return false, nil
	}
	return host != nil || translate.ShouldCopyPod(virtual) && virtual.DeletionTimestamp == nil, nil
}

// maxTrustSize limits the bundles of a pod together, in bytes, to the size of a ConfigMap.
const maxTrustSize = 1 << 20

// fillTrust fills in the ConfigMap of a pod. A selection without a bundle has no key, unless it
// is optional.
func fillTrust(s syncer.Scope, virtual *corev1.Pod, host *corev1.ConfigMap) error {
	var bundles certificatesv1.ClusterTrustBundleList
	if err := s.Virtual.List(s.Context, &bundles, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("cannot list ClusterTrustBundles: %w", err)
	}
	host.Data = map[string]string{}
	size := 0
	for _, request := range translate.TrustRequests(virtual) {
		text, found, err := request.Select(bundles.Items)
		if err != nil {
			return fmt.Errorf("cannot select ClusterTrustBundles for pod %s/%s: %w", virtual.Namespace, virtual.Name, err)
		}
		if size += len(text); size > maxTrustSize {
			return &translate.UnsupportedError{Problems: []error{fmt.Errorf(
				"spec.volumes: the projected ClusterTrustBundles have more than %d bytes together, which no ConfigMap takes; use fewer", maxTrustSize)}}
		}
		if found {
			host.Data[request.Key] = text
		}
	}
	return nil
}

// podsOfBundle returns the virtual pods that may mount a bundle.
func podsOfBundle(s syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	bundle, ok := object.(*certificatesv1.ClusterTrustBundle)
	if !ok {
		return nil, nil
	}
	var pods corev1.PodList
	err := s.Virtual.List(s.Context, &pods, client.MatchingFields{mountsTrust: "true"}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("cannot list pods that mount ClusterTrustBundles: %w", err)
	}
	return keysOf(pods.Items, func(pod *corev1.Pod) bool {
		return slices.ContainsFunc(translate.TrustRequests(pod), func(r translate.TrustRequest) bool { return r.MayMatch(bundle) })
	}), nil
}
