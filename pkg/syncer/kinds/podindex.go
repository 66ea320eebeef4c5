package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// podIndex returns an index of virtual pods by names of other objects in their namespace.
func podIndex(field string, names func(pod *corev1.Pod) []string) syncer.Index {
	return syncer.Index{Side: syncer.Virtual, Object: &corev1.Pod{}, Field: field, Values: func(o client.Object) []string {
		if pod, ok := o.(*corev1.Pod); ok {
			return names(pod)
		}
		return nil
	}}
}

// byResourceClaim is the field of the index of virtual pods by their ResourceClaims.
const byResourceClaim = "resourceClaims"

// podsByResourceClaim returns the index of virtual pods by their ResourceClaims.
func podsByResourceClaim() syncer.Index {
	return podIndex(byResourceClaim, func(pod *corev1.Pod) []string {
		names, _ := translate.ResourceClaims(pod)
		return names
	})
}

// byVolumeClaim is the field of the index of virtual pods by their claims.
const byVolumeClaim = "volumeClaims"

// podsByVolumeClaim returns the index of virtual pods by their claims.
func podsByVolumeClaim() syncer.Index {
	return podIndex(byVolumeClaim, func(pod *corev1.Pod) []string {
		var names []string
		for i := range pod.Spec.Volumes {
			if name := claimOfPod(pod, &pod.Spec.Volumes[i]); name != "" {
				names = append(names, name)
			}
		}
		return names
	})
}

// claimOfPod returns the name of the claim of a volume, empty for none.
func claimOfPod(pod *corev1.Pod, volume *corev1.Volume) string {
	switch {
	case volume.PersistentVolumeClaim != nil:
		return volume.PersistentVolumeClaim.ClaimName
	case volume.Ephemeral != nil:
		return translate.EphemeralClaim(pod.Name, volume.Name)
	default:
		return ""
	}
}

// podsOfOriginal returns a function that returns the keys of the virtual pods that a [podIndex] finds
// by the original of a host object.
func podsOfOriginal(field string) func(s syncer.Scope, host client.Object) ([]types.NamespacedName, error) {
	return func(s syncer.Scope, host client.Object) ([]types.NamespacedName, error) {
		original, ours := provenOrigin(s, host)
		if !ours {
			return nil, nil
		}
		var found corev1.PodList
		err := s.Virtual.List(s.Context, &found, client.InNamespace(original.Namespace),
			client.MatchingFields{field: original.Name}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, fmt.Errorf("cannot list pods of %s: %w", original, err)
		}
		return keysOf(found.Items, nil), nil
	}
}
