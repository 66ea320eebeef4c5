package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/api/labels"
)

// The driver and the class of TestCapacity.
const (
	driver    = "csi.example.com"
	lateClass = "late"
)

// TestCapacity checks that the virtual scheduler knows on which nodes the drivers of the host
// have room, and how many volumes a node takes. It picks the node by itself.
func TestCapacity(t *testing.T) {
	t.Parallel()
	host := newHost(t, 3)
	on := map[string]any{"enabled": true}
	s := openWith(t, host, "capacity", map[string]any{
		"controlPlane": map[string]any{"advanced": map[string]any{"virtualScheduler": on}},
		"sync": map[string]any{
			"fromHost": map[string]any{"csiDrivers": on, "csiNodes": on, "csiStorageCapacities": on},
			"toHost":   map[string]any{"persistentVolumes": on},
		},
	})
	roomy := host.Nodes()[1]
	installDriver(t, s, roomy)

	s.createConsumer(t, "large", "100Gi")
	s.staysPending(t, "large", "0/3 nodes are available: 3 node(s) did not have enough free storage")

	s.createConsumer(t, "first", "1Gi")
	s.bindClaim(t, "first")
	if got := s.running(t, "first"); got.Spec.NodeName != roomy {
		t.Errorf("on %s, and only %s has room for its claim", got.Spec.NodeName, roomy)
	}

	s.keepsData(t, "pvc-first")

	s.createConsumer(t, "second", "1Gi")
	s.staysPending(t, "second", "1 node(s) exceed max volume count, 2 node(s) did not have enough free storage")
	limitVolumes(t, s, roomy, 2)
	s.bindClaim(t, "second")
	if got := s.running(t, "second"); got.Spec.NodeName != roomy {
		t.Errorf("on %s, and only %s has room for its claim", got.Spec.NodeName, roomy)
	}
}

// keepsData sets the reclaim policy of a volume as the tenant, and reads it on both sides.
func (s *shop) keepsData(t *testing.T, volume string) {
	t.Helper()
	volumes := s.client.CoreV1().PersistentVolumes()
	eventually(t, "the tenant sees its volume", func(ctx context.Context) error {
		_, err := volumes.Get(ctx, volume, metav1.GetOptions{})
		return err
	})
	patch := []byte(`{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`)
	eventually(t, "the volume is kept", func(ctx context.Context) error { // A busy host may respond late.
		_, err := volumes.Patch(ctx, volume, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
	for side, client := range map[string]kubernetes.Interface{"host": s.host.Client(), "virtual": s.client} {
		got, err := client.CoreV1().PersistentVolumes().Get(t.Context(), volume, metav1.GetOptions{})
		if err != nil || got.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
			t.Errorf("%s: the volume has %q, want Retain, %v", side, got.Spec.PersistentVolumeReclaimPolicy, err)
		}
	}
	patch = []byte(`{"spec":{"claimRef":{"name":"other"}}}`)
	if _, err := volumes.Patch(t.Context(), volume, types.MergePatchType, patch, metav1.PatchOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("A volume is given to another claim: %v", err)
	}
}

// installDriver adds a driver to the host that has room on one node, for one volume.
func installDriver(t *testing.T, s *shop, roomy string) {
	t.Helper()
	ctx, storage := t.Context(), s.host.Client().StorageV1()
	if _, err := storage.CSIDrivers().Create(ctx, &storagev1.CSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: driver}, Spec: storagev1.CSIDriverSpec{StorageCapacity: new(true), AttachRequired: new(false)},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range s.host.Nodes() {
		node := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{
			Name: driver, NodeID: "machine-" + name, TopologyKeys: []string{corev1.LabelHostname},
			Allocatable: &storagev1.VolumeNodeResources{Count: new(int32(1))},
		}}}}
		if _, err := storage.CSINodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	room := resource.MustParse("10Gi")
	if _, err := storage.CSIStorageCapacities(s.name).Create(ctx, &storagev1.CSIStorageCapacity{
		ObjectMeta: metav1.ObjectMeta{Name: "room"}, StorageClassName: lateClass, Capacity: &room,
		NodeTopology: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelHostname: roomy}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := storage.StorageClasses().Create(ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: lateClass}, Provisioner: driver, VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the class, the driver and its room are there", func(ctx context.Context) error {
		_, classErr := s.client.StorageV1().StorageClasses().Get(ctx, lateClass, metav1.GetOptions{})
		_, driverErr := s.client.StorageV1().CSIDrivers().Get(ctx, driver, metav1.GetOptions{})
		nodes, nodesErr := s.client.StorageV1().CSINodes().List(ctx, metav1.ListOptions{})
		rooms, roomsErr := s.client.StorageV1().CSIStorageCapacities(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
		err := errors.Join(classErr, driverErr, nodesErr, roomsErr)
		if err == nil && (len(nodes.Items) != len(s.host.Nodes()) || len(rooms.Items) != 1) {
			err = fmt.Errorf("%d nodes of drivers, %d capacities", len(nodes.Items), len(rooms.Items))
		}
		return err
	})
}

// limitVolumes sets how many volumes of the driver a host node takes.
func limitVolumes(t *testing.T, s *shop, node string, count int32) {
	t.Helper()
	nodes := s.host.Client().StorageV1().CSINodes()
	patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/drivers/0/allocatable/count","value":%d}]`, count)
	if _, err := nodes.Patch(t.Context(), node, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// createConsumer creates a pod with a claim of that size. Both have the name.
func (s *shop) createConsumer(t *testing.T, name, size string) {
	t.Helper()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: new(lateClass), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
	}}
	if _, err := s.client.CoreV1().PersistentVolumeClaims(metav1.NamespaceDefault).Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := newPod(name)
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}}
	s.create(t, pod)
}

// staysPending waits until the virtual scheduler has judged all nodes, and found none. A
// message of the host would be about one node, to which its pod is held.
func (s *shop) staysPending(t *testing.T, name, message string) {
	t.Helper()
	eventually(t, name+" fits no node", func(ctx context.Context) error {
		if err := s.takeNodeBack(ctx, name); err != nil {
			return err
		}
		pod, err := s.get(ctx, name)
		if err != nil {
			return err
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && strings.Contains(c.Message, message) {
				return nil
			}
		}
		return fmt.Errorf("on %q, conditions %v", pod.Spec.NodeName, pod.Status.Conditions)
	})
}

// takeNodeBack plays the driver that has no room for a claim on the node that was picked. Both
// schedulers may have picked one before they knew of the driver.
func (s *shop) takeNodeBack(ctx context.Context, name string) error {
	claims := s.host.Client().CoreV1().PersistentVolumeClaims(s.name)
	list, err := claims.List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
	if err != nil {
		return err
	}
	for _, claim := range list.Items {
		if claim.Annotations[labels.VirtualName] != name || claim.Annotations[selectedNode] == "" {
			continue
		}
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, selectedNode)
		if _, err := claims.Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// bindClaim waits until the host has a node for a claim, and plays the driver that makes its
// volume there.
func (s *shop) bindClaim(t *testing.T, name string) {
	t.Helper()
	claims := s.host.Client().CoreV1().PersistentVolumeClaims(s.name)
	var claim corev1.PersistentVolumeClaim
	eventually(t, "the host has a node for the claim of "+name, func(ctx context.Context) error {
		list, err := claims.List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
		if err != nil {
			return err
		}
		for _, claim = range list.Items {
			if claim.Annotations[labels.VirtualName] == name && claim.Annotations[selectedNode] != "" {
				return nil
			}
		}
		return fmt.Errorf("%d claims, none is it", len(list.Items))
	})
	ctx := t.Context()
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-" + name}, Spec: corev1.PersistentVolumeSpec{
		StorageClassName: lateClass, AccessModes: claim.Spec.AccessModes, Capacity: claim.Spec.Resources.Requests,
		ClaimRef:                      &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
		PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: name}},
	}}
	if _, err := s.host.Client().CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"pv.kubernetes.io/bind-completed":"yes",%q:%q}},"spec":{"volumeName":%q}}`,
		"volume.kubernetes.io/storage-provisioner", driver, volume.Name)
	if _, err := claims.Patch(ctx, claim.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	patch = `{"status":{"phase":"Bound","accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"}}}`
	if _, err := claims.Patch(ctx, claim.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}
