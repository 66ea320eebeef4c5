package usage

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"
)

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func podOn(name, node string, requests corev1.ResourceList, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "others", Name: name},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Name: "main", Resources: corev1.ResourceRequirements{Requests: requests},
		}}},
	}
	for _, f := range change {
		f(pod)
	}
	return pod
}

func TestShareOf(t *testing.T) {
	t.Parallel()
	const gpu = "nvidia.com/gpu"
	always := corev1.ContainerRestartPolicyAlways
	for name, test := range map[string]struct {
		reason string
		pod    *corev1.Pod
		want   []amount
	}{
		"plain": {"every resource counts, and the pod itself", podOn("a", "n", list("cpu", "1500m", "memory", "1Gi", gpu, "2")),
			[]amount{{"cpu", 1500}, {"memory", 1 << 30}, {gpu, 2}, {"pods", 1}}},
		"nothing": {"a pod that asks for nothing takes a place", podOn("a", "n", nil), []amount{{"pods", 1}}},
		"init": {"containers that come first may ask for more than all others together",
			podOn("a", "n", list("cpu", "1"), func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{{Name: "i", Resources: corev1.ResourceRequirements{Requests: list("cpu", "3")}}}
			}), []amount{{"cpu", 3000}, {"pods", 1}}},
		"sidecar": {"a sidecar runs beside the others",
			podOn("a", "n", list("cpu", "1"), func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{{Name: "s", RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: list("cpu", "250m")}}}
			}), []amount{{"cpu", 1250}, {"pods", 1}}},
		"overhead": {"what the runtime takes counts too",
			podOn("a", "n", list("cpu", "1"), func(p *corev1.Pod) { p.Spec.Overhead = list("cpu", "100m") }),
			[]amount{{"cpu", 1100}, {"pods", 1}}},
		"resize": {"what the kubelet has not given back yet is still taken",
			podOn("a", "n", list("cpu", "1"), func(p *corev1.Pod) {
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", AllocatedResources: list("cpu", "2"),
					Resources: &corev1.ResourceRequirements{Requests: list("cpu", "2")}}}
			}), []amount{{"cpu", 2000}, {"pods", 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := map[string]int64{}
			for _, a := range test.want {
				want[string(a.name)] = a.value
			}
			got := map[string]int64{}
			for _, a := range shareOf(test.pod).amounts {
				got[string(a.name)] = a.value
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
		})
	}
}

func TestUnknownUntilListed(t *testing.T) {
	t.Parallel()
	u := New(Options{})
	if _, known := u.Foreign("n"); known {
		t.Error("usage is known before anything was listed")
	}
	if err := (sink{u}).Replace(nil, "1"); err != nil {
		t.Fatal(err)
	}
	if l, known := u.Foreign("n"); !known || len(l) != 0 {
		t.Errorf("an empty host: %v, known %v", l, known)
	}
}

func TestChangedIsToldOnce(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	told := make(chan string, 10)
	u := New(Options{Clock: clock, Changed: func(node string) { told <- node }})
	for i := range 5 {
		_ = sink{u}.Add(podOn(fmt.Sprint(i), "n", list("cpu", "1")))
	}
	_ = sink{u}.Update(podOn("0", "n", list("cpu", "1")))
	go u.tell(t.Context())
	for !clock.HasWaiters() {
		time.Sleep(time.Millisecond)
	}
	clock.Step(gather)
	if node := <-told; node != "n" {
		t.Errorf("told of %s", node)
	}
	_ = sink{u}.Update(podOn("0", "n", list("cpu", "1")))
	if clock.HasWaiters() || len(told) > 0 {
		t.Error("told again although nothing has changed")
	}
}

// TestSumsEqualRecomputation compares the running sums with sums made anew, after
// any sequence of what a watch may show.
func TestSumsEqualRecomputation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		u, pods := New(Options{}), map[string]*corev1.Pod{}
		draw := func() *corev1.Pod {
			requests := corev1.ResourceList{}
			for _, name := range []corev1.ResourceName{"cpu", "memory", "nvidia.com/gpu"} {
				if n := rapid.Int64Range(0, 3).Draw(t, string(name)); n > 0 {
					requests[name] = *resource.NewMilliQuantity(n*500, resource.DecimalSI)
				}
			}
			return podOn(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "pod"),
				rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "node"), requests)
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(*rapid.T) {
				pod := draw()
				pods[pod.Name] = pod
				_ = sink{u}.Add(pod)
			},
			"delete": func(*rapid.T) {
				pod := draw()
				delete(pods, pod.Name)
				_ = sink{u}.Delete(cache.DeletedFinalStateUnknown{Key: "others/" + pod.Name, Obj: pod})
			},
			"replace": func(t *rapid.T) {
				clear(pods)
				var all []any
				for range rapid.IntRange(0, 4).Draw(t, "n") {
					pod := draw()
					if pods[pod.Name] != nil {
						continue
					}
					pods[pod.Name] = pod
					small, err := sink{u}.Transformer()(pod)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, small)
				}
				_ = sink{u}.Replace(all, "1")
			},
			"": func(t *rapid.T) {
				want := map[string]map[corev1.ResourceName]int64{}
				for _, pod := range pods {
					for _, a := range shareOf(pod).amounts {
						if want[pod.Spec.NodeName] == nil {
							want[pod.Spec.NodeName] = map[corev1.ResourceName]int64{}
						}
						want[pod.Spec.NodeName][a.name] += a.value
					}
				}
				if diff := cmp.Diff(want, u.nodes); diff != "" {
					t.Fatalf("sums (-want +got):\n%s", diff)
				}
				if len(u.pods) != len(pods) {
					t.Fatalf("%d pods are kept of %d", len(u.pods), len(pods))
				}
			},
		})
	})
}
