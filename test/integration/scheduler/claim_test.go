package scheduler

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/labels"
)

// selectedNode is the annotation with the node for which a claim gets its volume.
const selectedNode = "volume.kubernetes.io/selected-node"

// claim creates a claim that waits for its first consumer. The test plays the host's
// provisioner.
func claim(t *testing.T, s *shop) {
	s.create(t, newConsumer(t, s, "consumer"))
	node := provision(t, s)
	if got := s.running(t, "consumer"); got.Spec.NodeName != node {
		t.Errorf("on %s, its volume on %s", got.Spec.NodeName, node)
	}
}

// newConsumer creates a pod with a claim that waits for it.
func newConsumer(t *testing.T, s *shop, name string) *corev1.Pod {
	t.Helper()
	ctx := t.Context()
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "late"}, Provisioner: "example.com/test", VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	}
	if _, err := s.host.Client().StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the class is there", func(ctx context.Context) error {
		_, err := s.client.StorageV1().StorageClasses().Get(ctx, "late", metav1.GetOptions{})
		return err
	})
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: new("late"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
	if _, err := s.client.CoreV1().PersistentVolumeClaims(metav1.NamespaceDefault).Create(ctx, claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := newPod(name)
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	return pod
}

// provision waits for the host claim to have a node and gives it a volume there.
func provision(t *testing.T, s *shop) string {
	t.Helper()
	claims := s.host.Client().CoreV1().PersistentVolumeClaims(s.name)
	var claim *corev1.PersistentVolumeClaim
	eventually(t, "the host's scheduler has picked a node for the claim", func(ctx context.Context) error {
		list, err := claims.List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
		if err != nil {
			return err
		}
		for i := range list.Items {
			if list.Items[i].Annotations[selectedNode] != "" {
				claim = &list.Items[i]
				return nil
			}
		}
		return fmt.Errorf("%d claims, none has", len(list.Items))
	})
	ctx, node := t.Context(), claim.Annotations[selectedNode]
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "volume-1"}, Spec: corev1.PersistentVolumeSpec{
		StorageClassName: "late", AccessModes: claim.Spec.AccessModes, Capacity: claim.Spec.Resources.Requests,
		ClaimRef:               &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/tmp/x"}},
	}}
	if _, err := s.host.Client().CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	patch := `{"metadata":{"annotations":{"pv.kubernetes.io/bind-completed":"yes"}},"spec":{"volumeName":"volume-1"}}`
	if _, err := claims.Patch(ctx, claim.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	patch = `{"status":{"phase":"Bound","accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"}}}`
	if _, err := claims.Patch(ctx, claim.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	return node
}
