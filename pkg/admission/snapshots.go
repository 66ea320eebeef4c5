package admission

import (
	"context"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// SnapshotClasses returns the snapshot classes of the host that the tenant sees.
type SnapshotClasses func(ctx context.Context) ([]policy.SnapshotClass, error)

// AddSnapshotChecks adds the checks of snapshots of volumes, of what the host owns of them,
// and of the definitions that Sublet keeps.
func AddSnapshotChecks(checks Checks, settings *v1alpha1.Config, classes SnapshotClasses) {
	if !policy.ServesSnapshots(settings) {
		return
	}
	resource := func(name string) schema.GroupResource {
		return schema.GroupResource{Group: policy.SnapshotGroup, Resource: name}
	}
	checks.Add(apiextensionsv1.Resource("customresourcedefinitions"), checkSnapshotDefinitions)
	if settings.Sync.IsEnabled(policy.SnapshotsSetting) {
		checks.Add(resource("volumesnapshots"), classes.checkSnapshots)
		checks.Add(resource("volumesnapshotcontents"), checkSnapshotContents)
	}
}

// checkSnapshotDefinitions denies what a tenant does to the definitions of snapshots. A new
// version of Sublet changes them.
func checkSnapshotDefinitions(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (Decision, error) {
	name := nameOf(a)
	if a.GetSubresource() != "" || schema.ParseGroupResource(name).Group != policy.SnapshotGroup {
		return Decision{}, nil
	}
	switch schema.ParseGroupResource(name).Resource {
	case "volumesnapshots", "volumesnapshotcontents", "volumesnapshotclasses":
		return Decision{Violations: []policy.Violation{{
			Field: "metadata.name", Value: name, Setting: policy.SnapshotsSetting + ".enabled",
			Detail: "Sublet keeps this definition, because snapshots are synced to the host",
		}}}, nil
	}
	return Decision{}, nil
}

// checkSnapshots evaluates new snapshots. The source of one never changes, and its class has no
// effect any more once the host has it.
func (c SnapshotClasses) checkSnapshots(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (Decision, error) {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "" {
		return Decision{}, nil
	}
	snapshot, ok := a.GetObject().(*unstructured.Unstructured)
	if !ok {
		return Decision{}, apierrors.NewBadRequest("the object is no VolumeSnapshot")
	}
	shown, err := c(ctx)
	if err != nil {
		return Decision{}, unknownHost(a, err)
	}
	return Decision{Violations: policy.CheckSnapshot(snapshot, shown)}, nil
}

// checkSnapshotContents denies what a tenant does to contents. Each is the copy of what the
// host has of a snapshot.
func checkSnapshotContents(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetOperation() == admission.Create {
		return Decision{Violations: []policy.Violation{{
			Field: "metadata.name", Value: nameOf(a),
			Detail: "contents are the host's, and one that is made here holds no data. Create a VolumeSnapshot of a claim",
		}}}, nil
	}
	return hostOwned{noun: "content"}.check(ctx, a, o)
}
