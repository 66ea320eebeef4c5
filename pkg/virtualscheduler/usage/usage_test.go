package usage

import (
	"fmt"
	"testing"
	"time"
	"unique"

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
			amounts("cpu", 1500, "memory", 1<<30, gpu, 2, "pods", 1)},
		"nothing": {"a pod that asks for nothing takes a place", podOn("a", "n", nil), amounts("pods", 1)},
		"init": {"containers that come first may ask for more than all others together",
			podOn("a", "n", list("cpu", "1"), func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{{Name: "i", Resources: corev1.ResourceRequirements{Requests: list("cpu", "3")}}}
			}), amounts("cpu", 3000, "pods", 1)},
		"sidecar": {"a sidecar runs beside the others",
			podOn("a", "n", list("cpu", "1"), func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{{Name: "s", RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: list("cpu", "250m")}}}
			}), amounts("cpu", 1250, "pods", 1)},
		"overhead": {"what the runtime takes counts too",
			podOn("a", "n", list("cpu", "1"), func(p *corev1.Pod) { p.Spec.Overhead = list("cpu", "100m") }),
			amounts("cpu", 1100, "pods", 1)},
		"resize": {"what the kubelet has not given back yet is still taken",
			podOn("a", "n", list("cpu", "1"), func(p *corev1.Pod) {
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", AllocatedResources: list("cpu", "2"),
					Resources: &corev1.ResourceRequirements{Requests: list("cpu", "2")}}}
			}), amounts("cpu", 2000, "pods", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := map[string]int64{}
			for _, a := range test.want {
				want[string(a.name.Value())] = a.value
			}
			got := map[string]int64{}
			for _, a := range shareOf(test.pod).amounts {
				got[string(a.name.Value())] = a.value
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
		})
	}
}

func TestUnknownUntilListed(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	var changed []string
	u := New(Options{Clock: clock, Changed: func(node string) { changed = append(changed, node) }})
	if _, ok := u.Foreign("idle", nil); ok {
		t.Error("usage is known before anything was listed")
	}
	u.publishDue()
	if len(changed) > 0 {
		t.Errorf("published %v before anything was listed", changed)
	}
	if err := (sink{u}).Replace(nil, "1"); err != nil {
		t.Fatal(err)
	}
	// A node that has lost its last foreign pod while nobody watched is reported, too.
	u.publishDue()
	if diff := cmp.Diff([]string{"idle"}, changed); diff != "" {
		t.Errorf("after the first list (-want +got):\n%s", diff)
	}
	if l, ok := u.Foreign("idle", nil); !ok || len(l) != 0 {
		t.Errorf("an empty host: %v, known %v", l, ok)
	}
}

// TestPublishedInSteps counts the writes that pod churn of others causes to a node
// of 100 cores.
func TestPublishedInSteps(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		cpu    string // of one pod
		pods   int    // one every 100 ms
		most   int
		least  int
	}{
		"SmallPods": {reason: "a hundredth of a node is no reason to write at once", cpu: "10m", pods: 100, least: 2, most: 3},
		"LargePods": {reason: "a tenth of a node matters to a scheduler", cpu: "10", pods: 10, least: 3, most: 5},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := clocktesting.NewFakeClock(time.Unix(0, 0))
			writes := 0
			var u *Usage
			size := list("cpu", "100", "pods", "10000")
			u = New(Options{Clock: clock, Changed: func(node string) {
				writes++
				u.Foreign(node, size)
			}})
			_ = sink{u}.Replace([]any{podOn("first", "n", list("cpu", "1m"))}, "1")
			clock.Step(largeChangeDelay)
			u.publishDue()
			writes = 0
			for i := range tc.pods {
				_ = sink{u}.Add(podOn(fmt.Sprint(i), "n", list("cpu", tc.cpu)))
				u.publishDue()
				clock.Step(100 * time.Millisecond)
			}
			clock.Step(smallChangeDelay)
			u.publishDue()
			if writes < tc.least || writes > tc.most {
				t.Errorf("%s: %d writes, want %d to %d", tc.reason, writes, tc.least, tc.most)
			}
			got, _ := u.Foreign("n", size)
			want := resource.MustParse(tc.cpu)
			want.SetMilli(want.MilliValue()*int64(tc.pods) + 1)
			if got.Cpu().Cmp(want) != 0 {
				t.Errorf("in the end %s are published, want %s", got.Cpu(), &want)
			}
		})
	}
}

func TestNothingIsPublishedTwice(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	writes := 0
	u := New(Options{Clock: clock, Changed: func(string) { writes++ }})
	_ = sink{u}.Replace([]any{podOn("a", "n", list("cpu", "1"))}, "1")
	clock.Step(smallChangeDelay)
	u.publishDue()
	_ = sink{u}.Add(podOn("b", "n", list("cpu", "1")))
	_ = sink{u}.Delete(podOn("b", "n", list("cpu", "1")))
	clock.Step(smallChangeDelay)
	u.publishDue()
	if writes != 1 {
		t.Errorf("%d writes, want one: a pod that came and went changes nothing", writes)
	}
}

// TestSumsEqualRecomputation compares the running sums with new ones, after any
// sequence of what a watch may show.
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
				want := map[string]sums{}
				for _, pod := range pods {
					for _, a := range shareOf(pod).amounts {
						if want[pod.Spec.NodeName] == nil {
							want[pod.Spec.NodeName] = sums{}
						}
						want[pod.Spec.NodeName][a.name.Value()] += a.value
					}
				}
				if diff := cmp.Diff(want, liveSums(u)); diff != "" {
					t.Fatalf("sums (-want +got):\n%s", diff)
				}
				if len(u.pods) != len(pods) {
					t.Fatalf("%d pods are kept of %d", len(u.pods), len(pods))
				}
			},
		})
	})
}

// liveSums returns the sums of the nodes that have any.
func liveSums(u *Usage) map[string]sums {
	all := map[string]sums{}
	for node, n := range u.nodes {
		if len(n.live) > 0 {
			all[node] = n.live
		}
	}
	return all
}

// amounts returns the amounts of resources given in pairs.
func amounts(pairs ...any) []amount {
	all := make([]amount, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, amount{unique.Make(corev1.ResourceName(pairs[i].(string))), int64(pairs[i+1].(int))})
	}
	return all
}
