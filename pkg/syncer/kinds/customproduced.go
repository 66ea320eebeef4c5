package kinds

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// producedField is the index of custom resources by the host names of the Secrets that the host
// writes for them.
const producedField = "produced"

// customProduced copies the Secrets that controllers of the host write for custom resources, such as
// a connection Secret. Their host names are derived from the names in the custom resources, so
// that no other Secret can be meant. The custom resource owns the copy.
func customProduced(o CustomOptions) syncer.Resource[*corev1.Secret, *corev1.Secret] {
	return syncer.Resource[*corev1.Secret, *corev1.Secret]{
		Owner: syncer.Host,
		Names: translate.Derived(custom.ProducedRole(o.Resource)),
		Origin: func(s syncer.Scope, host *corev1.Secret) (types.NamespacedName, bool) {
			owner, err := o.producerOf(s, host.Name)
			if err != nil || owner == nil || !mayShowType(host) {
				return types.NamespacedName{}, false
			}
			for _, key := range o.producedKeys(owner) {
				if o.producedName(key) == host.Name {
					return key, true
				}
			}
			return types.NamespacedName{}, false
		},
		IsCopy:  o.isProduced,
		Select:  notOfRelease(),
		Want:    isOfOriginal[*corev1.Secret],
		Up:      o.fillProduced,
		Indexes: []syncer.Index{{Side: syncer.Virtual, Object: o.newEmpty(), Field: producedField, Values: o.producedNames}},
		Also: []syncer.Watch{{
			Side: syncer.Virtual, Object: o.newEmpty(), StatusBlind: true,
			Keys: func(_ syncer.Scope, owner client.Object) ([]types.NamespacedName, error) {
				return o.producedKeys(owner), nil
			},
		}},
	}
}

// isProduced reports whether a Secret is the copy of one that the host has written for an object of
// the kind.
func (o CustomOptions) isProduced(virtual *corev1.Secret) bool {
	return slices.ContainsFunc(virtual.OwnerReferences, func(owner metav1.OwnerReference) bool {
		return schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind() == o.Kind.GroupKind()
	})
}

// notOfRelease selects Secrets that are neither copies nor those of a release.
func notOfRelease() apilabels.Selector {
	selector := apilabels.NewSelector()
	for _, not := range []struct {
		key, value string
	}{{labels.Cluster, ""}, {"app.kubernetes.io/part-of", "sublet"}, {"owner", "helm"}} {
		operator, values := selection.NotIn, []string{not.value}
		if not.value == "" {
			operator, values = selection.DoesNotExist, nil
		}
		if requirement, err := apilabels.NewRequirement(not.key, operator, values); err == nil {
			selector = selector.Add(*requirement)
		}
	}
	return selector
}

// mayShowType reports whether a Secret has a type that controllers write for users. It excludes
// service account tokens: the host fills them in by itself, so a tenant could get one of the host.
func mayShowType(host *corev1.Secret) bool {
	return slices.Contains([]corev1.SecretType{
		"", corev1.SecretTypeOpaque, corev1.SecretTypeTLS, corev1.SecretTypeDockercfg, corev1.SecretTypeDockerConfigJson,
		corev1.SecretTypeBasicAuth, corev1.SecretTypeSSHAuth,
	}, host.Type)
}

// producedKeys returns the virtual keys of the Secrets that the host writes for an object.
func (o CustomOptions) producedKeys(owner client.Object) []types.NamespacedName {
	u, ok := owner.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	var keys []types.NamespacedName
	for _, name := range o.Plan.Refs(u.Object).Produced {
		keys = append(keys, types.NamespacedName{Namespace: u.GetNamespace(), Name: name})
	}
	return keys
}

// producedNames returns the host names of the Secrets that the host writes for an object.
func (o CustomOptions) producedNames(owner client.Object) []string {
	var names []string
	for _, key := range o.producedKeys(owner) {
		names = append(names, o.producedName(key))
	}
	return names
}

// producedName returns the host name for a virtual key.
func (o CustomOptions) producedName(key types.NamespacedName) string {
	return translate.Derived(custom.ProducedRole(o.Resource))(o.Cluster, key).Name
}

// producerOf returns the object for which the host writes a Secret, nil if there is none. If several
// objects name the Secret, it is the oldest one, so that the owner of the copy does not change.
func (o CustomOptions) producerOf(s syncer.Scope, hostName string) (*unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(o.Kind.GroupVersion().WithKind(o.Kind.Kind + "List"))
	err := s.Virtual.List(s.Context, list, client.MatchingFields{producedField: hostName}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("cannot list what Secret %s is for: %w", hostName, err)
	}
	if len(list.Items) == 0 {
		return nil, nil
	}
	oldest := slices.MinFunc(list.Items, func(a, b unstructured.Unstructured) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
	})
	return &oldest, nil
}

// fillProduced fills in the copy of a Secret that the host has written.
func (o CustomOptions) fillProduced(s syncer.Scope, host, virtual *corev1.Secret) error {
	owner, err := o.producerOf(s, host.Name)
	if err != nil {
		return err
	}
	if owner == nil {
		return fmt.Errorf("nothing names Secret %s any more", host.Name)
	}
	virtual.Data, virtual.Type = host.Data, host.Type
	virtual.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: owner.GetAPIVersion(), Kind: owner.GetKind(), Name: owner.GetName(), UID: owner.GetUID(),
	}}
	return nil
}
