package translate

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

var update = flag.Bool("update", false, "write the golden files again")

// TestHostMinors checks what a tenant reads of a pod on each minor version of the host. Fields
// that Sublet does not know are dropped, and those that an older host lacks are not missed.
func TestHostMinors(t *testing.T) {
	t.Parallel()
	for _, minor := range []string{"1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37", "later"} {
		t.Run(minor, func(t *testing.T) {
			t.Parallel()
			virtual := webPod(func(pod *corev1.Pod) {
				pod.Spec.InitContainers = []corev1.Container{{Name: "prepare"}}
				pod.Spec.Volumes = []corev1.Volume{{Name: "data"}}
				pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
				pod.Spec.Containers[0].Resources.Requests = quantities("example.com/gpu", "1")
			})
			host := created(t, input(), virtual)
			host.Spec.NodeName = "node-1"
			host.Status = readStatus(t, minor)
			PodStatus(input().Cluster, host, virtual)
			again := virtual.DeepCopy()
			PodStatus(input().Cluster, host, again)
			if diff := cmp.Diff(virtual, again); diff != "" {
				t.Errorf("each look at the host is another write:\n%s", diff)
			}
			before := host.DeepCopy()
			if err := Pod(input(), virtual, host); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, host); diff != "" {
				t.Errorf("the status causes a write to the host:\n%s", diff)
			}
			compareStatus(t, filepath.Join("testdata", "hosts", minor+".virtual.json"), virtual.Status)
		})
	}
}

// readStatus decodes the response of a host as the syncer does.
func readStatus(t *testing.T, minor string) corev1.PodStatus {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "hosts", minor+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, &pod); err != nil {
		t.Fatal(err)
	}
	return pod.Status
}

// compareStatus compares a status with a golden file.
func compareStatus(t *testing.T, path string, status corev1.PodStatus) {
	t.Helper()
	got, err := json.MarshalIndent(status, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
