package admission

import (
	"context"
	"errors"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// withSnapshots switches snapshots of volumes on.
func withSnapshots(settings *v1alpha1.Config) {
	for _, kind := range []string{policy.SnapshotsSetting, policy.SnapshotClassesSetting} {
		settings.Sync.Kinds[kind] = v1alpha1.KindSettings{Enabled: true}
	}
}

// snapshotObject returns an object of a kind of snapshots.
func snapshotObject(kind string, spec map[string]any, annotations map[string]string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: policy.SnapshotGroup, Version: "v1", Kind: kind})
	u.SetName("db")
	u.SetAnnotations(annotations)
	return u
}

func TestSnapshotPolicy(t *testing.T) {
	t.Parallel()
	ours := map[string]string{labels.HostUID: "u"}
	snapshot := func(class, claim, content string) *unstructured.Unstructured {
		source, spec := map[string]any{}, map[string]any{}
		for key, value := range map[string]string{"persistentVolumeClaimName": claim, "volumeSnapshotContentName": content} {
			if value != "" {
				source[key] = value
			}
		}
		if class != "" {
			spec["volumeSnapshotClassName"] = class
		}
		spec["source"] = source
		return snapshotObject("VolumeSnapshot", spec, nil)
	}
	definition := func(name string) *apiextensionsv1.CustomResourceDefinition {
		return &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	withDefault := []policy.SnapshotClass{{Name: "fast", IsDefault: true}, {Name: "slow"}}
	for _, test := range []struct {
		reason   string
		resource string
		kind     string
		classes  []policy.SnapshotClass
		old, now runtime.Object
		denial   string // the golden file, empty for none
	}{
		{reason: "of a claim", resource: "volumesnapshots", kind: "VolumeSnapshot", classes: withDefault, now: snapshot("slow", "db", "")},
		{reason: "of the default class", resource: "volumesnapshots", kind: "VolumeSnapshot", classes: withDefault, now: snapshot("", "db", "")},
		{
			reason: "of a content of somebody", resource: "volumesnapshots", kind: "VolumeSnapshot", classes: withDefault,
			now: snapshot("slow", "", "snapcontent-1"), denial: "snapshot-content",
		},
		{
			reason: "of a class that is not shown", resource: "volumesnapshots", kind: "VolumeSnapshot", classes: withDefault,
			now: snapshot("secret", "db", ""), denial: "snapshot-class",
		},
		{
			reason: "of no class, and none is the default", resource: "volumesnapshots", kind: "VolumeSnapshot", classes: withDefault[1:],
			now: snapshot("", "db", ""), denial: "snapshot-no-class",
		},
		{
			reason: "an old one stays when its class is hidden", resource: "volumesnapshots", kind: "VolumeSnapshot",
			old: snapshot("gone", "db", ""), now: snapshot("gone", "db", ""),
		},
		{
			reason: "a content by hand", resource: "volumesnapshotcontents", kind: "VolumeSnapshotContent",
			now: snapshotObject("VolumeSnapshotContent", nil, nil), denial: "snapshot-content-by-hand",
		},
		{
			reason: "a content of the host", resource: "volumesnapshotcontents", kind: "VolumeSnapshotContent",
			old: snapshotObject("VolumeSnapshotContent", nil, ours), denial: "snapshot-content-delete",
		},
		{
			reason: "a class of the host", resource: "volumesnapshotclasses", kind: "VolumeSnapshotClass",
			old: snapshotObject("VolumeSnapshotClass", nil, ours), denial: "snapshot-class-delete",
		},
		{
			reason: "the definition", resource: "customresourcedefinitions", kind: "CustomResourceDefinition",
			old: definition("db"), now: definition("db"),
		},
	} {
		settings := withClaims(withSnapshots)
		checks := PolicyChecks(settings, hostClasses())
		AddSnapshotChecks(checks, settings, func(context.Context) ([]policy.SnapshotClass, error) { return test.classes, nil })
		resource := schema.GroupResource{Group: policy.SnapshotGroup, Resource: test.resource}
		if test.resource == "customresourcedefinitions" {
			resource.Group = apiextensionsv1.GroupName
		}
		err := askChecks(t, checks, resource, test.kind, test.old, test.now)
		switch {
		case test.denial != "":
			equalDenial(t, test.denial, err)
		case err != nil:
			t.Errorf("%s: %v", test.reason, err)
		}
	}
	checks := Checks{}
	AddSnapshotChecks(checks, withClaims(withSnapshots), func(context.Context) ([]policy.SnapshotClass, error) { return nil, errors.New("away") })
	err := askChecks(t, checks, schema.GroupResource{Group: policy.SnapshotGroup, Resource: "volumesnapshots"}, "VolumeSnapshot", nil, snapshot("slow", "db", ""))
	if !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a host that is not known yet: got %v, want 503", err)
	}
}

// TestSnapshotDefinitions denies what a tenant does to the definitions of snapshots alone.
func TestSnapshotDefinitions(t *testing.T) {
	t.Parallel()
	for name, denied := range map[string]bool{
		"volumesnapshots.snapshot.storage.k8s.io": true, "volumesnapshotclasses.snapshot.storage.k8s.io": true,
		"volumegroupsnapshots.groupsnapshot.storage.k8s.io": false, "widgets.example.com": false,
	} {
		for _, operation := range []admission.Operation{admission.Create, admission.Update, admission.Delete} {
			a := admission.NewAttributesRecord(nil, nil, schema.GroupVersionKind{Kind: "CustomResourceDefinition"}, "", name,
				apiextensionsv1.Resource("customresourcedefinitions").WithVersion("v1"), "", operation, nil, false, nil)
			decision, err := checkSnapshotDefinitions(t.Context(), a, nil)
			if err != nil || (len(decision.Violations) > 0) != denied {
				t.Errorf("%s of %s: got %v, %v, want denied %t", operation, name, decision.Violations, err, denied)
			}
		}
	}
}
