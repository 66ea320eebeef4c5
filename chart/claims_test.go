package chart_test

import (
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"
)

// hostOf is a host with objects of a release, for the function "lookup".
type hostOf struct{ objects []runtime.Object }

// GetClientFor returns a client of pods, claims or StatefulSets. Templates look up nothing else.
func (h hostOf) GetClientFor(_, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	client := dynamicfake.NewSimpleDynamicClient(scheme.Scheme, h.objects...)
	switch kind {
	case "Pod":
		return client.Resource(corev1.SchemeGroupVersion.WithResource("pods")), true, nil
	case "PersistentVolumeClaim":
		return client.Resource(corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims")), true, nil
	}
	return client.Resource(appsv1.SchemeGroupVersion.WithResource("statefulsets")), true, nil
}

// upgrade renders an upgrade of a release whose StatefulSet is live.
func upgrade(t *testing.T, live *appsv1.StatefulSet, after string) error {
	t.Helper()
	return upgradeOn(t, hostOf{objects: []runtime.Object{live}}, after)
}

// upgradeOn renders an upgrade of a release on a host.
func upgradeOn(t *testing.T, host hostOf, after string) error {
	t.Helper()
	ch := loadChart(t)
	release := common.ReleaseOptions{Name: "shop", Namespace: "tenant", Revision: 2, IsUpgrade: true}
	version, err := common.ParseKubeVersion("v1.37.0")
	if err != nil {
		t.Fatal(err)
	}
	top, err := util.ToRenderValues(ch, parse(t, after), release, &common.Capabilities{KubeVersion: *version, APIVersions: common.DefaultVersionSet})
	if err != nil {
		t.Fatal(err)
	}
	_, err = engine.RenderWithClientProvider(ch, top, host)
	return err
}

// TestUpgradeKeepsClaims upgrades a release. What would change its claims is refused before anything
// is changed: the host refuses the StatefulSet, and takes all else.
func TestUpgradeKeepsClaims(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	claim := func(settings string) string {
		return "controlPlane: {statefulSet: {persistence: {volumeClaim: {" + settings + "}}}}"
	}
	const path = "controlPlane.statefulSet.persistence.volumeClaim."
	for _, c := range []struct{ name, before, after, want string }{
		{"nothing", "", "", ""},
		{"the policy", claim("retentionPolicy: Retain"), claim("retentionPolicy: Delete"), ""},
		{"the same size, in another unit", claim("size: 5Gi"), claim("size: 5120Mi"), ""},
		{"the same size, with a part of a byte", claim("size: 1.2345678Gi"), claim("size: 1.2345678Gi"), ""},
		{"the size", claim("size: 5Gi"), claim("size: 10Gi"), path + `size: Invalid value: "10Gi": the release has 5Gi`},
		{"back to the default size", claim("size: 1500M"), "", path + `size: Invalid value: "5Gi": the release has 1500M`},
		{"the class", "", claim("storageClass: fast"), path + `storageClass: Invalid value: "fast": the release has ""`},
		{"the modes", "", claim("accessModes: [ReadWriteMany]"), path + `accessModes: Invalid value: ["ReadWriteMany"]: the release has ["ReadWriteOnce"]`},
		{"no claim", "", claim("enabled: false"), path + `enabled: Invalid value: false: the release has true`},
		{"a claim", claim("enabled: false"), "", path + `enabled: Invalid value: true: the release has false`},
		{"the size without a claim", claim("enabled: false"), claim("enabled: false, size: 8Gi"), ""},
		{"two of them", "", claim("size: 1Gi, storageClass: fast"), "2 problems in the values"},
		{"the other parts", "", "controlPlane: {statefulSet: {highAvailability: {replicas: 3}}}", ""},
	} {
		err := upgrade(t, object[*appsv1.StatefulSet](t, mustRender(t, ch, c.before), "shop"), c.after)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		case c.want != "" && !strings.Contains(err.Error(), "kubectl -n tenant delete statefulset shop --cascade=orphan"):
			t.Errorf("%s: the message does not have the way out: %v", c.name, err)
		}
	}
}

// TestUpgradeKeepsBackupClaim upgrades a release with a claim of backups. The host allows no change of it but more size, less
// than what it could not grow to, and its first class.
func TestUpgradeKeepsBackupClaim(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	claim := func(settings string) string {
		return "controlPlane: {backingStore: {backup: {enabled: true, volumeClaim: {" + settings + "}}}}"
	}
	const path = "controlPlane.backingStore.backup.volumeClaim."
	const bound, pending = "1Gi", ""
	for _, c := range []struct{ name, before, after, capacity, want string }{
		{"nothing", claim(""), claim(""), bound, ""},
		{"backups off", claim("size: 5Gi"), "", bound, ""},
		{"the policy", claim("retentionPolicy: Retain"), claim("retentionPolicy: Delete"), bound, ""},
		{"the same size, in another unit", claim("size: 5Gi"), claim("size: 5120Mi"), pending, ""},
		{"more size", claim("size: 5Gi"), claim("size: 10Gi"), "5Gi", ""},
		{"more size before it is bound", claim("size: 5Gi"), claim("size: 10Gi"), pending, path + `size: Invalid value: "10Gi": the claim has 5Gi, and cannot grow before it is bound`},
		{"back to what it can grow to", claim("size: 1000Gi"), claim("size: 20Gi"), "10Gi", ""},
		{"less size", claim("size: 10Gi"), claim("size: 5Gi"), "10Gi", path + `size: Invalid value: "5Gi": the claim has 10Gi, and cannot shrink`},
		{"the first class", claim(""), claim("storageClass: fast"), pending, ""},
		{"the class", claim("storageClass: slow"), claim("storageClass: fast"), bound, path + `storageClass: Invalid value: "fast": the claim has "slow"`},
		{"the default class", claim("storageClass: slow"), claim(""), bound, ""},
		{"the order of modes", claim("accessModes: [ReadWriteOnce, ReadWriteMany]"), claim("accessModes: [ReadWriteMany, ReadWriteOnce]"), bound, path + "accessModes: Invalid value"},
		{"the modes", claim(""), claim("accessModes: [ReadWriteMany]"), bound, path + `accessModes: Invalid value: ["ReadWriteMany"]: the claim has ["ReadWriteOnce"]`},
	} {
		rendered := mustRender(t, ch, c.before)
		live := object[*corev1.PersistentVolumeClaim](t, rendered, "shop-backup")
		if c.capacity != pending {
			live.Status.Phase = corev1.ClaimBound
			live.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(c.capacity)}
		}
		host := hostOf{objects: []runtime.Object{object[*appsv1.StatefulSet](t, rendered, "shop"), live}}
		err := upgradeOn(t, host, c.after)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "kubectl -n tenant delete pvc shop-backup")):
			t.Errorf("%s: got %v, want %s, and what to do", c.name, err, c.want)
		}
	}
}
