package kinds

import (
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// lookUp gets an object of one side from the cache and reports whether it exists. The object
// shares its content with the cache and must not be changed.
func lookUp(s syncer.Scope, side syncer.Side, key types.NamespacedName, object client.Object) (bool, error) {
	reader := s.Virtual
	if side == syncer.Host {
		reader = s.Host
	}
	err := reader.Get(s.Context, key, object, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		name := strings.TrimPrefix(key.String(), string(types.Separator))
		return false, fmt.Errorf("cannot get %s %s %s: %w", side, reflect.TypeOf(object).Elem().Name(), name, err)
	}
	return true, nil
}

// keysOf returns the keys of the items of a list that match. A nil match takes all of them.
func keysOf[T any, P interface {
	*T
	client.Object
}](items []T, match func(P) bool) []types.NamespacedName {
	keys := make([]types.NamespacedName, 0, len(items))
	for i := range items {
		if item := P(&items[i]); match == nil || match(item) {
			keys = append(keys, client.ObjectKeyFromObject(item))
		}
	}
	return keys
}

// statusNames returns a rewriter for the messages in the status of a host copy. It knows the names of
// the copy and of what the virtual object refers to.
func statusNames(s syncer.Scope, host, virtual client.Object) *translate.Rewriter {
	names := &translate.Rewriter{Cluster: s.Cluster}
	names.AddObject(client.ObjectKeyFromObject(host), client.ObjectKeyFromObject(virtual))
	addNames(names, virtual.GetNamespace(), referredNames(virtual)...)
	return names
}

// addNames adds objects of a virtual namespace to a rewriter.
func addNames(names *translate.Rewriter, namespace string, all ...string) {
	for _, name := range all {
		referred := types.NamespacedName{Namespace: namespace, Name: name}
		names.AddObject(translate.Hashed(names.Cluster, referred), referred)
	}
}

// referredNames returns the names of what a virtual object other than a pod refers to in its
// namespace.
func referredNames(virtual client.Object) []string {
	switch virtual := virtual.(type) {
	case *networkingv1.Ingress:
		return translate.IngressReferences(virtual)
	case *corev1.PersistentVolumeClaim:
		return translate.ClaimSources(&virtual.Spec)
	case *unstructured.Unstructured:
		if claim := field(virtual, "spec", "source", "persistentVolumeClaimName"); claim != "" && virtual.GroupVersionKind().Group == snapshotGroup {
			return []string{claim}
		}
	}
	return nil
}
