package chart_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/release"
)

func TestBackup(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	name := release.Release{Name: "shop", Namespace: "tenant"}.Backup()
	mounts := func(r rendering) (mounted, found bool) {
		pod := object[*appsv1.StatefulSet](t, r, "shop").Spec.Template.Spec
		for _, mount := range pod.Containers[0].VolumeMounts {
			mounted = mounted || mount.MountPath == release.BackupDir && !mount.ReadOnly
		}
		for _, volume := range pod.Volumes {
			found = found || volume.PersistentVolumeClaim != nil && volume.PersistentVolumeClaim.ClaimName == name
		}
		return mounted, found
	}
	off := mustRender(t, ch, "")
	_, exists := off.objects["PersistentVolumeClaim/"+name]
	if mounted, found := mounts(off); mounted || found || exists {
		t.Errorf("off, there is neither a claim nor a mount: %t %t %t", mounted, found, exists)
	}
	for values, keep := range map[string]string{
		"controlPlane: {backingStore: {backup: {enabled: true}}}":                                                                     "keep",
		"controlPlane: {backingStore: {backup: {enabled: true, volumeClaim: {retentionPolicy: Delete, storageClass: a, size: 1Gi}}}}": "",
	} {
		on := mustRender(t, ch, values)
		claim := object[*corev1.PersistentVolumeClaim](t, on, name)
		if got := claim.Annotations["helm.sh/resource-policy"]; got != keep {
			t.Errorf("%s: policy %q, want %q", values, got, keep)
		}
		if mounted, found := mounts(on); !mounted || !found {
			t.Errorf("%s: mounted %t, volume %t", values, mounted, found)
		}
		if got := claim.Spec.Resources.Requests.Storage().String(); (got == "1Gi") != (keep == "") {
			t.Errorf("%s: size %s", values, got)
		}
	}
}
