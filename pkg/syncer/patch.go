package syncer

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Patch changes the copy that a kind has built from original, before it is written. It
// runs after Down for host copies and after Up for virtual ones. It must give the same
// result each time.
//
// A patch cannot change the identity of the copy. The engine undoes changes of the name, the
// namespace, UIDs, versions, owner references, finalizers and keys below [labels.Domain], except
// for [labels.Patched].
type Patch func(s Scope, change PatchRequest) error

// PatchRequest is the copy that a [Patch] may change.
type PatchRequest struct {
	// Kind is the name of the kind.
	Kind string
	// Side is the side of the copy.
	Side Side
	// Original is the object that the copy was built from. It must not be changed.
	Original client.Object
	// Copy is the object to change.
	Copy client.Object
	// Before is the copy as it was before the kind has changed it, nil if it is new. It must
	// not be changed.
	Before client.Object
}

// WithPatch returns the kind with a patch of its copies.
func (k Kind) WithPatch(patch Patch) Kind {
	k.patch = patch
	return k
}

// WithoutPatch returns the kind with a patch of the copies on the host that an earlier one has
// changed, as [labels.Patched] shows. It undoes what that has written.
func (k Kind) WithoutPatch(undo Patch) Kind {
	k.undoPatch = undo
	return k
}

// patchOf returns the patch of a copy on the host, nil if it has none.
func (k Kind) patchOf(host client.Object) Patch {
	if _, patched := host.GetAnnotations()[labels.Patched]; k.patch == nil && patched {
		return k.undoPatch
	}
	return k.patch
}

// applyPatch runs a patch of the kind on a copy, nil for none.
func (r *reconciler) applyPatch(s Scope, patch Patch, request PatchRequest) error {
	if patch == nil {
		return nil
	}
	request.Kind, request.Original = r.kind.name, deepCopy(request.Original)
	identity := identityOf(request.Copy)
	err := patch(s, request)
	identity.restore(request.Copy)
	return err
}

// identity has the fields of an object that a patch cannot change.
type identity struct {
	namespace, name, version string
	uid                      types.UID
	generation               int64
	created                  metav1.Time
	deleted                  *metav1.Time
	grace                    *int64
	owners                   []metav1.OwnerReference
	finalizers               []string
	labels, annotations      map[string]string // keys below our domain
	kind                     metav1.TypeMeta
}

// identityOf returns the identity of an object.
func identityOf(o client.Object) identity {
	apiVersion, kind := o.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
	return identity{
		namespace: o.GetNamespace(), name: o.GetName(), version: o.GetResourceVersion(), uid: o.GetUID(),
		generation: o.GetGeneration(), created: o.GetCreationTimestamp(), deleted: o.GetDeletionTimestamp().DeepCopy(),
		grace: o.GetDeletionGracePeriodSeconds(), owners: slices.Clone(o.GetOwnerReferences()),
		finalizers: slices.Clone(o.GetFinalizers()),
		labels:     ownKeys(o.GetLabels()), annotations: ownKeys(o.GetAnnotations()),
		kind: metav1.TypeMeta{APIVersion: apiVersion, Kind: kind},
	}
}

// restore gives an object its identity back.
func (i identity) restore(o client.Object) {
	o.GetObjectKind().SetGroupVersionKind(i.kind.GroupVersionKind())
	o.SetNamespace(i.namespace)
	o.SetName(i.name)
	o.SetGenerateName("")
	o.SetResourceVersion(i.version)
	o.SetUID(i.uid)
	o.SetGeneration(i.generation)
	o.SetCreationTimestamp(i.created)
	o.SetDeletionTimestamp(i.deleted)
	o.SetDeletionGracePeriodSeconds(i.grace)
	o.SetOwnerReferences(i.owners)
	o.SetFinalizers(i.finalizers)
	o.SetLabels(restoreKeys(o.GetLabels(), i.labels))
	o.SetAnnotations(restoreKeys(o.GetAnnotations(), i.annotations))
}

// isOwnKey reports whether a label or annotation belongs to Sublet, and not to patches.
func isOwnKey(key string) bool {
	return key != labels.Patched && translate.IsOurs(key)
}

// ownKeys returns the labels or annotations that belong to Sublet.
func ownKeys(all map[string]string) map[string]string {
	own := map[string]string{}
	for key, value := range all {
		if isOwnKey(key) {
			own[key] = value
		}
	}
	return own
}

// restoreKeys returns patched with the keys of Sublet as they were.
func restoreKeys(patched, own map[string]string) map[string]string {
	restored := maps.Clone(patched)
	maps.DeleteFunc(restored, func(key, _ string) bool { return isOwnKey(key) })
	if restored == nil && len(own) > 0 {
		restored = map[string]string{}
	}
	maps.Copy(restored, own)
	return restored
}
