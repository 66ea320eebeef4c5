package kinds

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// VolumeSnapshots copies the tenant's snapshots of its claims to the host, whose drivers take
// them. The source is the host copy of the claim. The class is one that the tenant sees.
func VolumeSnapshots(Options) syncer.Resource[*unstructured.Unstructured, *unstructured.Unstructured] {
	return syncer.Resource[*unstructured.Unstructured, *unstructured.Unstructured]{
		Owner:      syncer.Virtual,
		Names:      translate.Hashed,
		NewVirtual: emptySnapshot,
		NewHost:    emptySnapshot,
		Down:       fillHostSnapshot,
		Up:         fillVirtualSnapshot,
		Refused:    recordRefusedSnapshot,
	}
}

// fillHostSnapshot fills in the host snapshot. Once it exists, only its labels change: the
// source never does, and the host fills in the rest.
func fillHostSnapshot(s syncer.Scope, virtual, host *unstructured.Unstructured) error {
	host.SetLabels(translate.SyncLabels(host.GetLabels(), virtual.GetLabels()))
	if host.GetResourceVersion() != "" {
		return nil
	}
	claim := field(virtual, "spec", "source", "persistentVolumeClaimName")
	if claim == "" {
		// Admission denies it. This one may be older than the setting.
		return unsupportedSnapshot("spec.source.volumeSnapshotContentName: contents are the host's; name a claim in persistentVolumeClaimName")
	}
	if content := field(virtual, "status", "boundVolumeSnapshotContentName"); content != "" {
		return unsupportedSnapshot("status.boundVolumeSnapshotContentName: the host no longer has the snapshot that %s was the content of, "+
			"and another one would have later data; create a new snapshot", content)
	}
	class, err := snapshotClass(s, virtual, claim)
	if err != nil {
		return err
	}
	host.Object["spec"] = map[string]any{
		"source":                  map[string]any{"persistentVolumeClaimName": hostName(s, virtual.GetNamespace(), claim)},
		"volumeSnapshotClassName": class,
	}
	return nil
}

// recordRefusedSnapshot shows that there is no snapshot, and why. A snapshot that was taken may have been
// deleted on the host. Nothing can be restored from it, and backup tools read that from its status.
func recordRefusedSnapshot(s syncer.Scope, virtual *unstructured.Unstructured, reason string) {
	status, ok := virtual.Object["status"].(map[string]any)
	if !ok {
		status = map[string]any{}
		virtual.Object["status"] = status
	}
	status["readyToUse"] = false
	if field(virtual, "status", "error", "message") != reason {
		status["error"] = map[string]any{"message": reason, "time": s.Now.UTC().Format(time.RFC3339)}
	}
}

// unsupportedSnapshot returns the error of an object that cannot exist on the host.
func unsupportedSnapshot(format string, values ...any) error {
	return &translate.UnsupportedError{Problems: []error{fmt.Errorf(format, values...)}}
}

// snapshotClass returns the class of a snapshot of a claim. If the snapshot names none, it returns the
// default of the classes that the tenant sees. The default of the host may be hidden.
func snapshotClass(s syncer.Scope, virtual *unstructured.Unstructured, claim string) (string, error) {
	if name := field(virtual, "spec", "volumeSnapshotClassName"); name != "" {
		class, err := shownSnapshotClass(s, name)
		if err == nil && class == nil {
			err = unsupportedSnapshot("spec.volumeSnapshotClassName: the host shows no snapshot class %s to this virtual cluster", name)
		}
		return name, err
	}
	driver, err := driverOfClaim(s, types.NamespacedName{Namespace: virtual.GetNamespace(), Name: claim})
	if err != nil {
		return "", err
	}
	classes, err := listSnapshotObjects(s.Context, s.Virtual, "VolumeSnapshotClass")
	if err != nil {
		return "", fmt.Errorf("cannot list virtual snapshot classes: %w", err)
	}
	for i := range classes {
		class := &classes[i]
		if isShownClass(class) && class.GetAnnotations()[defaultSnapshotClass] == "true" && field(class, "driver") == driver {
			return class.GetName(), nil
		}
	}
	return "", unsupportedSnapshot("spec.volumeSnapshotClassName: no snapshot class that the host shows is the default for claim %s; name one", claim)
}

// driverOfClaim returns the driver of the storage class of a virtual claim, empty if it is not
// known.
func driverOfClaim(s syncer.Scope, key types.NamespacedName) (string, error) {
	var claim corev1.PersistentVolumeClaim
	if found, err := lookUp(s, syncer.Virtual, key, &claim); err != nil || !found {
		return "", err
	}
	name, _ := translate.ClaimClass(claim.Annotations, &claim.Spec)
	var class storagev1.StorageClass
	_, err := lookUp(s, syncer.Virtual, types.NamespacedName{Name: name}, &class)
	return class.Provisioner, err
}

// fillVirtualSnapshot copies the status, with the names of the tenant in its error. A snapshot
// without a class gets that of its copy, as the host's controller does.
func fillVirtualSnapshot(s syncer.Scope, host, virtual *unstructured.Unstructured) error {
	setFields(virtual, host, "status")
	class := field(host, "spec", "volumeSnapshotClassName")
	if class != "" && field(virtual, "spec", "volumeSnapshotClassName") == "" {
		if err := unstructured.SetNestedField(virtual.Object, class, "spec", "volumeSnapshotClassName"); err != nil {
			return fmt.Errorf("cannot set the snapshot class: %w", err)
		}
	}
	message := field(virtual, "status", "error", "message")
	if message == "" {
		return nil
	}
	return unstructured.SetNestedField(virtual.Object, statusNames(s, host, virtual).RewriteError(message), "status", "error", "message")
}
