package translate

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// ownedBy lets a controller of a kind own a pod.
func ownedBy(apiVersion, kind string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: "web", Controller: new(true)}}
	}
}

// withAnnotation sets an annotation of a pod.
func withAnnotation(key, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations = mergeMaps(pod.Annotations, map[string]string{key: value}) }
}

func TestAutoscalerAnnotations(t *testing.T) {
	t.Parallel()
	type set = map[string]string
	type changes = []func(*corev1.Pod)
	replicas, daemon := ownedBy("apps/v1", "ReplicaSet"), ownedBy("apps/v1", "DaemonSet")
	volume := func(name string, source corev1.VolumeSource) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		}
	}
	disk := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	memory := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}
	node := corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}}
	safe, expected := set{safeToEvict: "true"}, "cluster-autoscaler.kubernetes.io/daemonset-pod"
	for name, test := range map[string]struct {
		reason string
		pod    changes
		want   set
	}{
		"Replicated":    {"a controller creates it again", changes{replicas}, safe},
		"Alone":         {"nothing creates it again", nil, set{}},
		"Custom":        {"every controller is one", changes{ownedBy("example.com/v1", "Database")}, safe},
		"Memory":        {"its content is not meant to stay", changes{replicas, volume("tmp", memory)}, safe},
		"Disk":          {"the data in it would be lost", changes{replicas, volume("tmp", disk)}, set{}},
		"HostPath":      {"the data in it would be lost", changes{replicas, volume("log", node)}, set{}},
		"Named":         {"the tenant has said that nothing of it must stay", changes{replicas, volume("a", disk), volume("b", disk), withAnnotation(safeToEvictLocalVolumes, "a,b")}, set{safeToEvict: "true", safeToEvictLocalVolumes: "a,b"}},
		"PartlyNamed":   {"the other one has data", changes{replicas, volume("a", disk), volume("b", disk), withAnnotation(safeToEvictLocalVolumes, "a")}, set{safeToEvictLocalVolumes: "a"}},
		"Refused":       {"the tenant knows better", changes{replicas, withAnnotation(safeToEvict, "false")}, set{safeToEvict: "false"}},
		"DaemonSet":     {"a mark of its own would let a tenant make new nodes look full", changes{daemon}, safe},
		"ForgedMark":    {"that key does not pass", changes{replicas, withAnnotation(expected, "true")}, safe},
		"ForgedNoOwner": {"that key does not pass", changes{withAnnotation(expected, "true")}, set{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := input()
			in.PassesAnnotation = func(key string) bool { return strings.HasPrefix(key, safeToEvict) }
			virtual := webPod(test.pod...)
			host := created(t, in, virtual)
			for _, when := range []string{"new", "again"} {
				if diff := cmp.Diff(test.want, plainKeys(host.Annotations)); diff != "" {
					t.Errorf("%s, %s (-want +got):\n%s", when, test.reason, diff)
				}
				if err := Pod(in, virtual, host); err != nil {
					t.Fatal(err)
				}
			}
			virtual.OwnerReferences, virtual.Annotations = nil, nil
			if err := Pod(in, virtual, host); err != nil {
				t.Fatal(err)
			}
			if got := plainKeys(host.Annotations); len(got) > 0 {
				t.Errorf("without a controller: %v", got)
			}
		})
	}
}

// TestAutoscalerAnnotationsChange lets the tenant and others set the annotation of a host pod that exists.
func TestAutoscalerAnnotationsChange(t *testing.T) {
	t.Parallel()
	in := input()
	in.PassesAnnotation = func(key string) bool { return key == safeToEvict }
	virtual := webPod(ownedBy("apps/v1", "ReplicaSet"))
	host := created(t, in, virtual)
	for _, step := range []struct{ reason, tenant, others, want string }{
		{"of an earlier version", "", "none", "true"},
		{"the tenant forbids it", "false", "", "false"},
		{"and allows it again", "", "", "true"},
		{"the host forbids it", "", "false", "false"},
	} {
		virtual.Annotations = nil
		if step.tenant != "" {
			virtual.Annotations = map[string]string{safeToEvict: step.tenant}
		}
		if step.others != "" { // They leave no record.
			delete(host.Annotations, labels.CopiedAnnotations)
			host.Annotations[safeToEvict] = step.others
			if step.others == "none" {
				delete(host.Annotations, safeToEvict)
			}
		}
		for range 2 {
			before := maps.Clone(host.Annotations)
			if err := Pod(in, virtual, host); err != nil {
				t.Fatal(err)
			}
			if got := host.Annotations[safeToEvict]; got != step.want {
				t.Errorf("%s: %q, want %q, before %v", step.reason, got, step.want, before)
			}
		}
	}
}
