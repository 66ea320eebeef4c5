package kinds

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Referrer is a virtual kind whose objects refer to ConfigMaps and Secrets of their namespace. These
// get copies on the host.
type Referrer struct {
	// Object is an empty object of the kind.
	Object client.Object
	// Refers returns the names that an object refers to.
	Refers func(object client.Object) Refs
}

// Refs are the names that an object refers to in its own namespace.
type Refs struct {
	ConfigMaps, Secrets []string
}

// referrers returns the kinds that refer to others: those of the table that are on, and
// those of the options.
func (o Options) referrers() []Referrer {
	all := slices.Clone(o.Referrers)
	for _, row := range Table() {
		if row.referrer != nil && row.Enabled(o.Sync) {
			all = append(all, *row.referrer)
		}
	}
	return all
}

// podRefs returns what a pod refers to.
func podRefs(object client.Object) Refs {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return Refs{}
	}
	configMaps, secrets, _ := translate.References(pod)
	return Refs{ConfigMaps: configMaps, Secrets: secrets}
}

// referred limits a kind to the objects that others refer to.
type referred struct {
	field     string              // name of the index of the referrers
	names     func(Refs) []string // selects the names of the kind
	referrers []Referrer
}

// referredConfigMaps returns the limit of ConfigMaps.
func referredConfigMaps(o Options) referred {
	return referred{"configmaps", func(r Refs) []string { return r.ConfigMaps }, o.referrers()}
}

// referredSecrets returns the limit of Secrets.
func referredSecrets(o Options) referred {
	return referred{"secrets", func(r Refs) []string { return r.Secrets }, o.referrers()}
}

// indexes returns the index of each kind of referrers by what its objects refer to.
func (r referred) indexes() []syncer.Index {
	var indexes []syncer.Index
	for _, referrer := range r.referrers {
		indexes = append(indexes, syncer.Index{
			Side: syncer.Virtual, Object: referrer.Object, Field: r.field,
			Values: func(o client.Object) []string { return r.names(referrer.Refers(o)) },
		})
	}
	return indexes
}

// watches returns watches that requeue the objects that a referrer refers to when it is created, changed
// or deleted.
func (r referred) watches() []syncer.Watch {
	var watches []syncer.Watch
	for _, referrer := range r.referrers {
		watches = append(watches, syncer.Watch{
			Side: syncer.Virtual, Object: referrer.Object, StatusBlind: true, KeysOnly: true,
			Keys: func(_ syncer.Scope, o client.Object) ([]types.NamespacedName, error) {
				var keys []types.NamespacedName
				for _, name := range r.names(referrer.Refers(o)) {
					keys = append(keys, types.NamespacedName{Namespace: o.GetNamespace(), Name: name})
				}
				return keys, nil
			},
		})
	}
	return watches
}

// isReferred reports whether any object refers to virtual.
func (r referred) isReferred(s syncer.Scope, virtual client.Object) (bool, error) {
	for _, referrer := range r.referrers {
		list, err := newList(referrer.Object)
		if err != nil {
			return false, err
		}
		err = s.Virtual.List(s.Context, list, client.InNamespace(virtual.GetNamespace()),
			client.MatchingFields{r.field: virtual.GetName()}, client.Limit(1), client.UnsafeDisableDeepCopy)
		if err != nil {
			return false, fmt.Errorf("cannot list what refers to %s: %w", client.ObjectKeyFromObject(virtual), err)
		}
		if meta.LenList(list) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// newList returns an empty list of objects like the given one.
func newList(object client.Object) (client.ObjectList, error) {
	gvk, err := apiutil.GVKForObject(object, scheme.Scheme)
	if err != nil {
		return nil, fmt.Errorf("cannot find the type of %T: %w", object, err)
	}
	if _, ok := object.(runtime.Unstructured); ok {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		return list, nil
	}
	list, err := scheme.Scheme.New(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	if err != nil {
		return nil, fmt.Errorf("cannot create a list of %s: %w", gvk.Kind, err)
	}
	typed, ok := list.(client.ObjectList)
	if !ok {
		return nil, fmt.Errorf("cannot list into %T", list)
	}
	return typed, nil
}
