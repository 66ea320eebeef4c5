//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

const (
	// driverName is the driver, its storage class and its namespace on the host.
	driverName = "e2e-volume-driver"
	// driverFolder has the volumes and the snapshots on the node.
	driverFolder = "/var/lib/" + driverName
	// driverPause is the pause between two rounds of the driver.
	driverPause = 200 * time.Millisecond
)

// snapshotResource returns a resource of snapshots.
func snapshotResource(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: name}
}

// volumeDriver provides volumes on the host, lets them grow, and takes snapshots of them, as
// a CSI driver with its sidecars does. A volume is a folder of the node. Short pods copy.
type volumeDriver struct {
	namespace string // of the tenant
	dynamic   dynamic.Interface
	ctx       context.Context //nolint:containedctx // The life of the driver.

	mu   sync.Mutex
	last error // of the latest round
}

// startVolumeDriver starts a driver for the claims of a namespace of the host.
func startVolumeDriver(t *testing.T, namespace string) *volumeDriver {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	client, err := dynamic.NewForConfig(hostConfig)
	if err != nil {
		t.Fatal(err)
	}
	d := &volumeDriver{namespace: namespace, dynamic: client, ctx: ctx}
	d.createClass(t)
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(driverPause)
		defer tick.Stop()
		for {
			err := errors.Join(d.reconcileClaims(), d.reconcileSnapshots())
			d.mu.Lock()
			d.last = err
			d.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		if t.Failed() {
			t.Logf("volume driver: %v", d.last)
		}
		d.removeAll(context.WithoutCancel(ctx))
	})
	return d
}

// createClass creates the storage class and the namespace of the driver.
func (d *volumeDriver) createClass(t *testing.T) {
	t.Helper()
	immediate, grows := storagev1.VolumeBindingImmediate, true
	_, err := hostClient.StorageV1().StorageClasses().Create(d.ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: driverName}, Provisioner: driverName + ".sublet.test",
		AllowVolumeExpansion: &grows, VolumeBindingMode: &immediate,
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	_, err = hostClient.CoreV1().Namespaces().Create(d.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: driverName}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// removeAll removes what the driver has made, but for its namespace.
func (d *volumeDriver) removeAll(ctx context.Context) {
	_ = hostClient.StorageV1().StorageClasses().Delete(ctx, driverName, metav1.DeleteOptions{})
	made := metav1.ListOptions{LabelSelector: driverName + "=" + d.namespace}
	_ = hostClient.CoreV1().PersistentVolumes().DeleteCollection(ctx, metav1.DeleteOptions{}, made)
	_ = hostClient.CoreV1().Pods(driverName).DeleteCollection(ctx, metav1.DeleteOptions{}, made)
	_ = d.dynamic.Resource(snapshotResource("volumesnapshotcontents")).DeleteCollection(ctx, metav1.DeleteOptions{}, made)
}

// labels marks what the driver has made for a tenant.
func (d *volumeDriver) labels() map[string]string { return map[string]string{driverName: d.namespace} }

// reconcileClaims provides a volume for each new claim, and lets the others grow.
func (d *volumeDriver) reconcileClaims() error {
	claims, err := hostClient.CoreV1().PersistentVolumeClaims(d.namespace).List(d.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var failures []error
	for i := range claims.Items {
		claim := &claims.Items[i]
		switch {
		case claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName != driverName:
		case claim.Spec.VolumeName == "":
			failures = append(failures, d.provide(claim))
		case claim.Status.Phase == corev1.ClaimBound:
			failures = append(failures, d.grow(claim))
		}
	}
	return errors.Join(failures...)
}

// provide creates the volume of a claim, with the data of its source.
func (d *volumeDriver) provide(claim *corev1.PersistentVolumeClaim) error {
	name := "volume-" + string(claim.UID)
	if source := claim.Spec.DataSource; source != nil {
		snapshot, err := d.dynamic.Resource(snapshotResource("volumesnapshots")).Namespace(d.namespace).Get(d.ctx, source.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if done, err := d.copyFolder("snapshot-"+string(snapshot.GetUID()), name); err != nil || !done {
			return err
		}
	}
	kind := corev1.HostPathDirectoryOrCreate
	_, err := hostClient.CoreV1().PersistentVolumes().Create(d.ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: d.labels()},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: driverName, AccessModes: claim.Spec.AccessModes, Capacity: claim.Spec.Resources.Requests,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			ClaimRef:                      &corev1.ObjectReference{Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: path.Join(driverFolder, name), Type: &kind},
			},
		},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// grow gives a volume the size that its claim requests.
func (d *volumeDriver) grow(claim *corev1.PersistentVolumeClaim) error {
	wanted, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	if wanted.Cmp(has) <= 0 {
		return nil
	}
	volume, err := hostClient.CoreV1().PersistentVolumes().Get(d.ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	volume.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: wanted}
	if _, err := hostClient.CoreV1().PersistentVolumes().Update(d.ctx, volume, metav1.UpdateOptions{}); err != nil {
		return err
	}
	claim.Status.Capacity = volume.Spec.Capacity
	_, err = hostClient.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(d.ctx, claim, metav1.UpdateOptions{})
	return err
}

// reconcileSnapshots takes each new snapshot.
func (d *volumeDriver) reconcileSnapshots() error {
	snapshots, err := d.dynamic.Resource(snapshotResource("volumesnapshots")).Namespace(d.namespace).List(d.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var failures []error
	for i := range snapshots.Items {
		if _, taken, _ := unstructured.NestedBool(snapshots.Items[i].Object, "status", "readyToUse"); !taken {
			failures = append(failures, d.take(&snapshots.Items[i]))
		}
	}
	return errors.Join(failures...)
}

// take takes a snapshot: it copies the folder, and creates the content.
func (d *volumeDriver) take(snapshot *unstructured.Unstructured) error {
	claimName, _, _ := unstructured.NestedString(snapshot.Object, "spec", "source", "persistentVolumeClaimName")
	claim, err := hostClient.CoreV1().PersistentVolumeClaims(d.namespace).Get(d.ctx, claimName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	folder := "snapshot-" + string(snapshot.GetUID())
	if done, err := d.copyFolder("volume-"+string(claim.UID), folder); err != nil || !done {
		return err
	}
	content := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
		"spec": map[string]any{
			"driver": driverName + ".sublet.test", "deletionPolicy": "Delete",
			"source":            map[string]any{"volumeHandle": claim.Spec.VolumeName},
			"volumeSnapshotRef": map[string]any{"namespace": d.namespace, "name": snapshot.GetName(), "uid": string(snapshot.GetUID())},
		},
	}}
	content.SetName("snapcontent-" + string(snapshot.GetUID()))
	content.SetLabels(d.labels())
	contents := d.dynamic.Resource(snapshotResource("volumesnapshotcontents"))
	if _, err := contents.Create(d.ctx, content, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	size := claim.Status.Capacity[corev1.ResourceStorage]
	snapshot.Object["status"] = map[string]any{
		"boundVolumeSnapshotContentName": content.GetName(), "readyToUse": true, "restoreSize": size.String(),
		"creationTime": time.Now().UTC().Format(time.RFC3339),
	}
	_, err = d.dynamic.Resource(snapshotResource("volumesnapshots")).Namespace(d.namespace).UpdateStatus(d.ctx, snapshot, metav1.UpdateOptions{})
	return err
}

// copyFolder copies a folder of the node with a pod, and reports whether that is done.
func (d *volumeDriver) copyFolder(from, to string) (bool, error) {
	pods := hostClient.CoreV1().Pods(driverName)
	kind, grace := corev1.HostPathDirectoryOrCreate, int64(0)
	name := "copy-to-" + to
	pod, err := pods.Get(d.ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		pod, err = pods.Create(d.ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: d.labels()},
			Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyOnFailure, TerminationGracePeriodSeconds: &grace,
				Containers: []corev1.Container{{
					Name: "copy", Image: testImage, ImagePullPolicy: corev1.PullIfNotPresent,
					Command:      []string{"sh", "-c", fmt.Sprintf("mkdir -p /d/%s && cp -a /d/%s/. /d/%s/", to, from, to)},
					VolumeMounts: []corev1.VolumeMount{{Name: "d", MountPath: "/d"}},
				}},
				Volumes: []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{
					HostPath: &corev1.HostPathVolumeSource{Path: driverFolder, Type: &kind},
				}}},
			},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return false, err
	}
	return pod.Status.Phase == corev1.PodSucceeded, nil
}
