package release

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/util/csaupgrade"
	"k8s.io/client-go/util/retry"
)

// fieldOwner is the name by which Helm's own program owns fields of the host's objects.
const fieldOwner = "helm"

// ShareFieldsWithHelm gives this process the field owner of Helm's own program. With another one, "helm upgrade" of
// what "sublet create" has installed would be a conflict, and the reverse. It is called once, before any action.
func ShareFieldsWithHelm() { kube.ManagedFieldsManager = fieldOwner }

// ownFields prepares the fields of a release for an upgrade, and reports whether it must force conflicts. It must where
// the API server merges: the settings win against what somebody has changed by hand, as they do where Helm merges. Helm
// refuses to force anything there.
func ownFields(config *action.Configuration, name string) (force bool, err error) {
	found, err := action.NewGet(config).Run(name)
	if err != nil {
		return false, nil //nolint:nilerr // the upgrade reports it
	}
	known, ok := found.(*releasev1.Release)
	if !ok || known.ApplyMethod != string(releasev1.ApplyMethodServerSideApply) {
		return false, nil
	}
	return true, adoptFields(config, known.Manifest)
}

// formerOwners returns the names by which earlier versions of this program owned fields: those of their files.
func formerOwners() []string {
	return []string{"sublet", "kubectl-sublet", filepath.Base(os.Args[0])}
}

// adoptFields gives Helm's owner the fields that earlier versions of this program own in objects of a manifest. They
// would keep fields that an upgrade leaves out, and "helm upgrade" would be a conflict with them.
func adoptFields(config *action.Configuration, manifest string) error {
	objects, err := config.KubeClient.Build(bytes.NewBufferString(manifest), false)
	if err != nil {
		return fmt.Errorf("cannot read the objects of the release: %w", err)
	}
	return adoptAll(objects)
}

// adoptAll does what adoptFields does for objects of the host.
func adoptAll(objects []*resource.Info) error {
	for _, info := range objects {
		if err := retry.RetryOnConflict(retry.DefaultRetry, func() error { return adoptFieldsOf(info) }); err != nil {
			return fmt.Errorf("cannot patch the owner of fields of %s: %w", info.ObjectName(), err)
		}
	}
	return nil
}

// adoptFieldsOf does what adoptFields does for one object. It does nothing for one that is gone.
func adoptFieldsOf(info *resource.Info) error {
	helper := resource.NewHelper(info.Client, info.Mapping)
	object, err := helper.Get(info.Namespace, info.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	patch, err := adoptionPatch(object, formerOwners())
	if err != nil || len(patch) == 0 {
		return err
	}
	_, err = helper.Patch(info.Namespace, info.Name, types.JSONPatchType, patch, nil)
	return err
}

// adoptionPatch returns the patch that gives Helm's owner what others have applied. It is empty if they have applied
// nothing.
func adoptionPatch(object runtime.Object, others []string) ([]byte, error) {
	object = object.DeepCopyObject()
	accessor, err := meta.Accessor(object)
	if err != nil {
		return nil, err
	}
	entries, names := accessor.GetManagedFields(), sets.New[string]()
	for i, entry := range entries {
		if entry.Manager != fieldOwner && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" && slices.Contains(others, entry.Manager) {
			// client-go has a function for updates. What this program has updated keeps its owner, as no chart has it.
			entries[i].Operation, entries[i].Manager = metav1.ManagedFieldsOperationUpdate, entry.Manager+" applied"
			names.Insert(entries[i].Manager)
		}
	}
	accessor.SetManagedFields(entries)
	return csaupgrade.UpgradeManagedFieldsPatch(object, names, fieldOwner)
}
