package volumes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// options returns those of a claim on node one.
func options(modes ...corev1.PersistentVolumeAccessMode) controller.ProvisionOptions {
	policy := corev1.PersistentVolumeReclaimDelete
	return controller.ProvisionOptions{
		StorageClass: &storagev1.StorageClass{ReclaimPolicy: &policy},
		PVName:       "pvc-1",
		PVC: &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: "data"},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: modes,
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}},
			},
		},
		SelectedNodeName: "one",
	}
}

// TestFolders makes a volume that any user of its node can write to, and deletes it by its name alone.
func TestFolders(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "volumes")
	f := New(root)
	volume, _, err := f.Provision(t.Context(), options(corev1.ReadWriteOnce))
	if err != nil {
		t.Fatal(err)
	}
	folder := volume.Spec.HostPath.Path
	info, err := os.Stat(folder)
	if err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("the folder is %v, %v", info, err)
	}
	if parent, err := os.Stat(root); err != nil || parent.Mode().Perm() != 0o700 {
		t.Errorf("others than root must not get into %s: %v, %v", root, parent, err)
	}
	if size := volume.Spec.Capacity[corev1.ResourceStorage]; size.String() != "5Gi" {
		t.Errorf("the capacity is %s", size.String())
	}
	if nodes := volume.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values; nodes[0] != "one" {
		t.Errorf("the volume is on %v", nodes)
	}

	other := filepath.Join(root, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	volume.Spec.HostPath.Path = other
	if err := f.Delete(t.Context(), volume); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("another folder was deleted: %v", err)
	}
}

// TestFoldersRefuse names what a folder cannot be.
func TestFoldersRefuse(t *testing.T) {
	t.Parallel()
	shared, selected, early := options(corev1.ReadWriteMany), options(), options()
	selected.PVC.Spec.Selector = &metav1.LabelSelector{}
	early.SelectedNodeName = ""
	for want, o := range map[string]controller.ProvisionOptions{"ReadWriteMany": shared, "selector": selected, "no node": early} {
		root := t.TempDir()
		if _, _, err := New(root).Provision(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error must name %q: %v", want, err)
		}
		if made, err := os.ReadDir(root); err != nil || len(made) != 0 {
			t.Errorf("a folder is left: %v, %v", made, err)
		}
	}
}
