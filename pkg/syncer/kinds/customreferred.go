package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// customSecrets copies the Secrets that objects of a custom resource refer to.
func customSecrets(o CustomOptions) syncer.Resource[*corev1.Secret, *corev1.Secret] {
	r := Secrets(Options{Sync: v1alpha1.Sync{ToHost: v1alpha1.ToHost{Secrets: v1alpha1.Referred{All: true}}}})
	limit := referred{"secrets of " + o.Resource, func(r Refs) []string { return r.Secrets }, o.referrers()}
	return referredBy(r, limit, o, func() *corev1.Secret { return &corev1.Secret{} })
}

// customConfigMaps copies the ConfigMaps that objects of a custom resource refer to.
func customConfigMaps(o CustomOptions) syncer.Resource[*corev1.ConfigMap, *corev1.ConfigMap] {
	r := ConfigMaps(Options{Sync: v1alpha1.Sync{ToHost: v1alpha1.ToHost{ConfigMaps: v1alpha1.Referred{All: true}}}})
	limit := referred{"configmaps of " + o.Resource, func(r Refs) []string { return r.ConfigMaps }, o.referrers()}
	return referredBy(r, limit, o, func() *corev1.ConfigMap { return &corev1.ConfigMap{} })
}

// referredBy limits a resource to the objects that custom resources refer to. Their copies have host
// names of their own, because the same object may also have a copy for pods.
//
// A copy stays as long as a copy of a custom resource names it. A controller of the host may need a Secret
// to clean up after a custom resource that the tenant has deleted.
func referredBy[T client.Object](r syncer.Resource[T, T], limit referred, o CustomOptions, empty func() T) syncer.Resource[T, T] {
	names := translate.Derived(custom.Role(o.Resource))
	onHost := referred{limit.field + " on the host", limit.names, limit.referrers}
	r.Names = names
	r.Want = func(s syncer.Scope, virtual, host T) (bool, error) {
		if wanted, err := limit.isReferred(s, virtual); err != nil || wanted || client.Object(host) == client.Object(*new(T)) {
			return wanted, err
		}
		return o.isNamedOnHost(s, onHost.field, host.GetName())
	}
	r.MetadataOnly, r.Compared = true, false
	r.Indexes, r.Also = limit.indexes(), limit.watches()
	for _, index := range onHost.indexes() {
		index.Side = syncer.Host
		r.Indexes = append(r.Indexes, index)
	}
	r.Also = append(r.Also, syncer.Watch{
		Side: syncer.Host, Object: o.newEmpty(), StatusBlind: true, KeysOnly: true,
		Keys: func(s syncer.Scope, copied client.Object) ([]types.NamespacedName, error) {
			var keys []types.NamespacedName
			for _, name := range onHost.names(o.refersTo(copied)) {
				host := empty()
				found, err := lookUp(s, syncer.Host, types.NamespacedName{Namespace: s.Cluster.Namespace, Name: name}, host)
				if err != nil {
					return nil, err
				}
				if virtual, _, ours := translate.Origin(s.Cluster, names, host); found && ours {
					keys = append(keys, virtual)
				}
			}
			return keys, nil
		},
	})
	return r
}

// isNamedOnHost reports whether the copy of a custom resource names a host object. field is the index.
func (o CustomOptions) isNamedOnHost(s syncer.Scope, field, name string) (bool, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(o.Kind.GroupVersion().WithKind(o.Kind.Kind + "List"))
	err := s.Host.List(s.Context, list, client.InNamespace(s.Cluster.Namespace), client.MatchingFields{field: name}, client.Limit(1), client.UnsafeDisableDeepCopy)
	if err != nil {
		return false, fmt.Errorf("cannot list what names %s on the host: %w", name, err)
	}
	return len(list.Items) > 0, nil
}

// referrers returns the objects of the kind as referrers.
func (o CustomOptions) referrers() []Referrer {
	return []Referrer{{Object: o.newEmpty(), Refers: o.refersTo}}
}

// refersTo returns what an object of the kind refers to. For a copy, these are names of the host.
func (o CustomOptions) refersTo(object client.Object) Refs {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return Refs{}
	}
	refs := o.Plan.Refs(u.Object)
	return Refs{ConfigMaps: refs.ConfigMaps, Secrets: refs.Secrets}
}
