package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/definitions"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/test/await"
)

// snapshotObject returns an empty object of a kind of snapshots.
func snapshotObject(kind, namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "snapshot.storage.k8s.io", Version: "v1", Kind: kind})
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// keepDefinitions gives an API server the definitions of snapshots until the test ends.
func keepDefinitions(t *testing.T, config *rest.Config) {
	t.Helper()
	api, err := apiextensionsclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	all, err := definitions.Snapshots()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	keeper := &definitions.Keeper{Client: api.CustomResourceDefinitions(), Definitions: all, Clock: clock.RealClock{}}
	done := make(chan error, 1)
	go func() { done <- keeper.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestSnapshots checks that both API servers take what the kinds of snapshots write. The host
// gets the definitions after the kinds have started.
func TestSnapshots(t *testing.T) {
	r := newRelease(t)
	ctx := t.Context()
	keepDefinitions(t, r.virtual.memory())
	some := r.allKinds(func(o *kinds.Options) {
		for _, setting := range []string{"sync.toHost.volumeSnapshots", "sync.fromHost.volumeSnapshotClasses"} {
			o.Sync.Kinds[setting] = v1alpha1.KindSettings{Enabled: true}
		}
	})
	keepDefinitions(t, r.host.memory())
	class := snapshotObject("VolumeSnapshotClass", "", r.namespace+"-fast")
	class.Object["driver"], class.Object["deletionPolicy"] = "csi.example.com", "Delete"
	await.Until(t, "snapshot class", func(ctx context.Context) error {
		return client.IgnoreAlreadyExists(r.host.client.Create(ctx, class))
	})
	t.Cleanup(func() { _ = client.IgnoreNotFound(r.host.client.Delete(context.WithoutCancel(ctx), class)) })
	r.startSome(t, some, "persistentvolumeclaims", "volumesnapshots", "volumesnapshotcontents", "volumesnapshotclasses", "snapshotevents")
	await.Until(t, "virtual snapshot class", func(ctx context.Context) error {
		return r.virtual.client.Get(ctx, client.ObjectKeyFromObject(class), snapshotObject("VolumeSnapshotClass", "", ""))
	})

	virtual := snapshotObject("VolumeSnapshot", r.namespace, "monday")
	virtual.Object["spec"] = map[string]any{
		"source": map[string]any{"persistentVolumeClaimName": "data"}, "volumeSnapshotClassName": class.GetName(),
	}
	if err := r.virtual.client.Create(ctx, virtual); err != nil {
		t.Fatal(err)
	}
	r.takesSnapshot(t, "monday", "snapcontent-"+r.namespace)
	r.showsSnapshot(t, "monday", "snapcontent-"+r.namespace)
	r.showsSnapshotEvent(t, "monday")

	restored := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "restored"}}
	restored.Spec = corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: new("none"),
		Resources:  corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: restoreSize()}},
		DataSource: &corev1.TypedLocalObjectReference{APIGroup: new("snapshot.storage.k8s.io"), Kind: "VolumeSnapshot", Name: "monday"},
	}
	if err := r.virtual.client.Create(ctx, restored); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "claim with the host's snapshot", func(ctx context.Context) error {
		var host corev1.PersistentVolumeClaim
		if err := r.host.client.Get(ctx, r.hostKey("restored"), &host); err != nil {
			return err
		}
		if source := host.Spec.DataSource; source == nil || source.Name != r.hostKey("monday").Name {
			return fmt.Errorf("the data source is %v", source)
		}
		return nil
	})
	if err := r.virtual.client.Delete(ctx, virtual); err != nil {
		t.Fatal(err)
	}
	r.isGone(t, r.host.client, snapshotObject("VolumeSnapshot", r.hostKey("monday").Namespace, r.hostKey("monday").Name))
	r.isGone(t, r.virtual.client, snapshotObject("VolumeSnapshotContent", "", "snapcontent-"+r.namespace))
}

// showsSnapshotEvent writes an Event about a host snapshot, and waits until the tenant sees it.
func (r *release) showsSnapshotEvent(t *testing.T, name string) {
	t.Helper()
	host := snapshotObject("VolumeSnapshot", "", "")
	if err := r.host.client.Get(t.Context(), r.hostKey(name), host); err != nil {
		t.Fatal(err)
	}
	about := corev1.ObjectReference{
		APIVersion: host.GetAPIVersion(), Kind: host.GetKind(), Namespace: host.GetNamespace(), Name: host.GetName(), UID: host.GetUID(),
	}
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: host.GetNamespace(), Name: host.GetName() + ".taken"},
		InvolvedObject: about, Reason: "SnapshotReady", Message: host.GetName() + " is ready", Type: corev1.EventTypeNormal,
	}
	if err := r.host.client.Create(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "Event of the snapshot", func(ctx context.Context) error {
		var events corev1.EventList
		if err := r.virtual.client.List(ctx, &events, client.InNamespace(r.namespace)); err != nil {
			return err
		}
		for i := range events.Items {
			if e := &events.Items[i]; e.Reason == event.Reason && e.InvolvedObject.Name == name && e.Message == name+" is ready" {
				return nil
			}
		}
		return fmt.Errorf("none of %d Events", len(events.Items))
	})
}

// takesSnapshot acts as the host's driver: it waits for the host snapshot and takes it.
func (r *release) takesSnapshot(t *testing.T, name, content string) {
	t.Helper()
	await.Until(t, "host snapshot", func(ctx context.Context) error {
		host := snapshotObject("VolumeSnapshot", "", "")
		if err := r.host.client.Get(ctx, r.hostKey(name), host); err != nil {
			return err
		}
		if claim, _, _ := unstructured.NestedString(host.Object, "spec", "source", "persistentVolumeClaimName"); claim != r.hostKey("data").Name {
			return fmt.Errorf("the source is %q", claim)
		}
		size := restoreSize()
		host.Object["status"] = map[string]any{"boundVolumeSnapshotContentName": content, "readyToUse": true, "restoreSize": size.String()}
		return r.host.client.Status().Update(ctx, host)
	})
}

// showsSnapshot waits until the tenant sees the status of a snapshot, and its content.
func (r *release) showsSnapshot(t *testing.T, name, content string) {
	t.Helper()
	await.Until(t, "status of the snapshot", func(ctx context.Context) error {
		virtual := snapshotObject("VolumeSnapshot", "", "")
		if err := r.virtual.client.Get(ctx, types.NamespacedName{Namespace: r.namespace, Name: name}, virtual); err != nil {
			return err
		}
		if ready, _, _ := unstructured.NestedBool(virtual.Object, "status", "readyToUse"); !ready {
			return fmt.Errorf("the status is %v", virtual.Object["status"])
		}
		made := snapshotObject("VolumeSnapshotContent", "", "")
		if err := r.virtual.client.Get(ctx, types.NamespacedName{Name: content}, made); err != nil {
			return err
		}
		if ready, _, _ := unstructured.NestedBool(made.Object, "status", "readyToUse"); !ready {
			return fmt.Errorf("the content's status is %v", made.Object["status"])
		}
		if ref, _, _ := unstructured.NestedString(made.Object, "spec", "volumeSnapshotRef", "name"); ref != name {
			return fmt.Errorf("the content is of %q", ref)
		}
		return nil
	})
}

// isGone waits until an API server has no such object.
func (r *release) isGone(t *testing.T, from client.Client, object client.Object) {
	t.Helper()
	await.Until(t, "end of "+object.GetName(), func(ctx context.Context) error {
		err := from.Get(ctx, client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %w", err)
	})
}

// restoreSize returns the size of the claims and of the snapshot.
func restoreSize() resource.Quantity { return resource.MustParse("1Gi") }
