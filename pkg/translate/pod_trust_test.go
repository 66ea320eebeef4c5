package translate

import (
	"encoding/pem"
	"testing"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// anchor returns a certificate as a bundle has it.
func anchor(content string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(content)}))
}

// bundle returns a trust bundle.
func bundle(name, signer, stage, text string) certificatesv1.ClusterTrustBundle {
	return certificatesv1.ClusterTrustBundle{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"stage": stage}},
		Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: text},
	}
}

func TestTrustRequests(t *testing.T) {
	t.Parallel()
	bundles := []certificatesv1.ClusterTrustBundle{
		bundle("own", "", "live", "comment\n"+anchor("c")+anchor("a")+anchor("a")),
		bundle("example.com:ca:one", "example.com/ca", "live", anchor("b")+anchor("a")),
		bundle("example.com:ca:two", "example.com/ca", "test", anchor("d")),
		bundle("example.com:other:one", "example.com/other", "live", anchor("e")),
	}
	signer := new("example.com/ca")
	live := &metav1.LabelSelector{MatchLabels: map[string]string{"stage": "live"}}
	for name, test := range map[string]struct {
		reason string
		source corev1.ClusterTrustBundleProjection
		want   string
		found  bool
	}{
		"Name":          {"the certificates alone, each once", corev1.ClusterTrustBundleProjection{Name: new("own")}, anchor("a") + anchor("c"), true},
		"Missing":       {"the pod waits for it", corev1.ClusterTrustBundleProjection{Name: new("gone")}, "", false},
		"Optional":      {"the file is empty", corev1.ClusterTrustBundleProjection{Name: new("gone"), Optional: new(true)}, "", true},
		"Signer":        {"those with the labels", corev1.ClusterTrustBundleProjection{SignerName: signer, LabelSelector: live}, anchor("a") + anchor("b"), true},
		"EveryLabel":    {"an empty selector selects all", corev1.ClusterTrustBundleProjection{SignerName: signer, LabelSelector: &metav1.LabelSelector{}}, anchor("a") + anchor("b") + anchor("d"), true},
		"NoSelector":    {"none selects nothing", corev1.ClusterTrustBundleProjection{SignerName: signer}, "", false},
		"UnknownSigner": {"nobody has published any", corev1.ClusterTrustBundleProjection{SignerName: new("example.com/new"), LabelSelector: live}, "", false},
		"Neither":       {"it selects nothing", corev1.ClusterTrustBundleProjection{}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := toTrustRequest(&test.source)
			got, found, err := request.Select(bundles)
			if err != nil || found != test.found {
				t.Errorf("%s: found %t, %v", test.reason, found, err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
		})
	}
}

// TestTrustSources checks that a host pod reads bundles from its ConfigMap, and that each
// request has a key of its own.
func TestTrustSources(t *testing.T) {
	t.Parallel()
	virtual := webPod(func(pod *corev1.Pod) {
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(1000))}
		pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Name: new("ca"), Path: "one"}},
			{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Name: new("ca"), Path: "two"}},
			{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Name: new("ca"), Path: "three", Optional: new(true)}},
			{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{SignerName: new("ca"), Path: "four"}},
		}}}}}
	})
	requests := TrustRequests(virtual)
	if len(requests) != 3 {
		t.Fatalf("%d requests for three selections: %v", len(requests), requests)
	}
	keys := map[string]bool{}
	for _, request := range requests {
		keys[request.Key] = true
	}
	for i, source := range created(t, input(), virtual).Spec.Volumes[0].Projected.Sources {
		if source.ClusterTrustBundle != nil || source.ConfigMap == nil {
			t.Fatalf("source %d on the host: %v", i, source)
		}
		item := source.ConfigMap.Items[0]
		if want := Derived(TrustRole)(shop, keyOf("default", "web-0")).Name; source.ConfigMap.Name != want || !keys[item.Key] {
			t.Errorf("source %d reads %s of %s", i, item.Key, source.ConfigMap.Name)
		}
		if item.Mode == nil || *item.Mode != everyReader {
			t.Errorf("source %d: the user of the pod cannot read a file with mode %v", i, item.Mode)
		}
	}
}
