package scheduler

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// handmade is a class of volumes that the operator makes by hand, each of them on one node.
const handmade = "handmade"

// TestVolumeOfOneNode checks that a pod finds the one node that has a volume for it. The
// tenant prefers another one, and the virtual cluster does not show where volumes are.
func TestVolumeOfOneNode(t *testing.T) {
	t.Parallel()
	host := newHost(t, 3)
	s := openWith(t, host, "handmade", map[string]any{
		"controlPlane": map[string]any{"advanced": map[string]any{"virtualScheduler": map[string]any{"enabled": true}}},
		"policies":     map[string]any{"volumes": map[string]any{"staticClasses": []any{handmade}}},
	})
	has := host.Nodes()[1]
	s.makeVolume(t, has)
	createClaim(t, s.client, "data", handmade)
	pod := withClaim(newPod("first"), "data")
	pod.Spec.Affinity = prefer(host.Nodes()[0])
	s.create(t, pod)
	s.bindsMadeVolume(t)
	if got := s.running(t, "first"); got.Spec.NodeName != has {
		t.Errorf("on %s, its volume is on %s", got.Spec.NodeName, has)
	}

	s.clear(t)
	pod = withClaim(newPod("second"), "data")
	pod.Spec.Affinity = prefer(host.Nodes()[0])
	s.create(t, pod)
	if got := s.running(t, "second"); got.Spec.NodeName != has {
		t.Errorf("on %s, its volume is on %s", got.Spec.NodeName, has)
	}
}

// withClaim adds a claim to a pod.
func withClaim(pod *corev1.Pod, claim string) *corev1.Pod {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}})
	return pod
}

// createClaim creates a claim of the tenant.
func createClaim(t *testing.T, client kubernetes.Interface, name, class string) {
	t.Helper()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: new(class), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
	if _, err := client.CoreV1().PersistentVolumeClaims(metav1.NamespaceDefault).Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// makeVolume plays the operator: a class without a provisioner, and a volume on a node.
func (s *shop) makeVolume(t *testing.T, node string) {
	t.Helper()
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: handmade}, Provisioner: "kubernetes.io/no-provisioner",
		VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	}
	if _, err := s.host.Client().StorageV1().StorageClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: handmade}, Spec: corev1.PersistentVolumeSpec{
		StorageClassName: handmade, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
		PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/tmp/x"}},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}}}},
	}}
	if _, err := s.host.Client().CoreV1().PersistentVolumes().Create(t.Context(), volume, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	patch := `{"status":{"phase":"Available"}}`
	if _, err := s.host.Client().CoreV1().PersistentVolumes().Patch(t.Context(), handmade, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the class is there", func(ctx context.Context) error {
		_, err := s.client.StorageV1().StorageClasses().Get(ctx, handmade, metav1.GetOptions{})
		return err
	})
}

// bindsMadeVolume waits until the host's scheduler has given the volume to a claim, and plays
// the controller that finishes this.
func (s *shop) bindsMadeVolume(t *testing.T) {
	t.Helper()
	var claim *corev1.ObjectReference
	eventually(t, "the host's scheduler has taken the volume", func(ctx context.Context) error {
		volume, err := s.host.Client().CoreV1().PersistentVolumes().Get(ctx, handmade, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if claim = volume.Spec.ClaimRef; claim == nil {
			return errors.New("it is free")
		}
		return nil
	})
	claims := s.host.Client().CoreV1().PersistentVolumeClaims(s.name)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"pv.kubernetes.io/bind-completed":"yes"}},"spec":{"volumeName":%q}}`, handmade)
	if _, err := claims.Patch(t.Context(), claim.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	patch = `{"status":{"phase":"Bound","accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"}}}`
	if _, err := claims.Patch(t.Context(), claim.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// TestTenantSchedulerWaitsForVolumes plays a scheduler of the tenant's own. It picks a node for a claim,
// and binds the pod once the claim has a volume there. For the first node the host gives
// the claim back.
func TestTenantSchedulerWaitsForVolumes(t *testing.T) {
	t.Parallel()
	host := newHost(t, 2)
	s := open(t, host, "own-scheduler", nil)
	pod := newConsumer(t, s, "consumer")
	pod.Spec.SchedulerName = "mine"
	s.create(t, pod)

	s.pickNode(t, host.Nodes()[0])
	s.claimIsFor(t, host.Nodes()[0])
	if err := s.takeNodeBack(t.Context(), "data"); err != nil {
		t.Fatal(err)
	}
	s.claimIsFor(t, "")

	s.pickNode(t, host.Nodes()[1])
	if node := provision(t, s); node != host.Nodes()[1] {
		t.Errorf("the claim is for %s, and not for the node that the tenant's scheduler has picked", node)
	}
	eventually(t, "the tenant's scheduler sees the claim bound to its node", func(ctx context.Context) error {
		claim, err := s.client.CoreV1().PersistentVolumeClaims(metav1.NamespaceDefault).Get(ctx, "data", metav1.GetOptions{})
		if err == nil && (claim.Spec.VolumeName == "" || claim.Annotations[selectedNode] != host.Nodes()[1]) {
			err = fmt.Errorf("volume %q, node %q", claim.Spec.VolumeName, claim.Annotations[selectedNode])
		}
		return err
	})
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: host.Nodes()[1]}}
	if err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := s.running(t, "consumer"); got.Spec.NodeName != host.Nodes()[1] {
		t.Errorf("on %s", got.Spec.NodeName)
	}
}

// pickNode picks a node for the claim as a scheduler of the tenant does.
func (s *shop) pickNode(t *testing.T, node string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, selectedNode, node)
	claims := s.client.CoreV1().PersistentVolumeClaims(metav1.NamespaceDefault)
	if _, err := claims.Patch(t.Context(), "data", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
