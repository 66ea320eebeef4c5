package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// byResourceClaim is the field of the index of virtual pods by their ResourceClaims.
const byResourceClaim = "resourceClaims"

// podsByResourceClaim returns the index of virtual pods by their ResourceClaims.
func podsByResourceClaim() syncer.Index {
	return syncer.Index{Side: syncer.Virtual, Object: &corev1.Pod{}, Field: byResourceClaim, Values: func(o client.Object) []string {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			return nil
		}
		names, _ := translate.ResourceClaims(pod)
		return names
	}}
}

// podsByIndex returns the keys of the virtual pods in the namespace of an object that an index finds by
// the name of the object.
func podsByIndex(s syncer.Scope, object types.NamespacedName, field string) ([]types.NamespacedName, error) {
	var found corev1.PodList
	err := s.Virtual.List(s.Context, &found, client.InNamespace(object.Namespace), client.MatchingFields{field: object.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("cannot list pods of %s: %w", object, err)
	}
	return keysOf(found.Items, nil), nil
}
