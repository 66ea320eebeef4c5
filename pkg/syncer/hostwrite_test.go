package syncer

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// jar returns a custom resource of the host.
func jar(spec map[string]any) *unstructured.Unstructured {
	u := custom("Jar")
	u.SetUID("h1")
	u.Object["spec"] = spec
	return u
}

func TestHostPatches(t *testing.T) {
	t.Parallel()
	pod := func(edits ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "h1", Labels: map[string]string{"a": "1"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		}
		for _, edit := range edits {
			edit(p)
		}
		return p
	}
	cpu := func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resourceOf("2")}
	}
	tests := map[string]struct {
		reason        string
		before, after client.Object
		want          map[string]string // by subresource
	}{
		"Nothing": {
			reason: "No difference, no request.",
			before: pod(), after: pod(),
		},
		"Equivalent": {
			reason: "Quantities that mean the same are no difference.",
			before: pod(cpu), after: pod(func(p *corev1.Pod) {
				p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resourceOf("2000m")}
			}),
		},
		"Label": {
			reason: "A patch holds the difference alone, and the UID of what it is meant for.",
			before: pod(), after: pod(func(p *corev1.Pod) { p.Labels = map[string]string{"b": "2"} }),
			want: map[string]string{"": `{"metadata":{"labels":{"a":null,"b":"2"},"uid":"h1"}}`},
		},
		"Resources": {
			reason: "Resources are patched at an address of their own.",
			before: pod(), after: pod(cpu),
			want: map[string]string{"resize": `{"metadata":{"uid":"h1"},"spec":{"containers":[{"image":"i","name":"c","resources":{"requests":{"cpu":"2"}}}]}}`},
		},
		"ResourcesAndImage": {
			reason: "What is left over goes to the pod itself.",
			before: pod(), after: pod(cpu, func(p *corev1.Pod) { p.Spec.Containers[0].Image = "j" }),
			want: map[string]string{
				"resize": `{"metadata":{"uid":"h1"},"spec":{"containers":[{"image":"i","name":"c","resources":{"requests":{"cpu":"2"}}}]}}`,
				"":       `{"metadata":{"uid":"h1"},"spec":{"containers":[{"image":"j","name":"c","resources":{"requests":{"cpu":"2"}}}]}}`,
			},
		},
		"Number": {
			reason: "Numbers of a custom resource are exact.",
			before: jar(map[string]any{"seed": int64(9007199254740992), "old": "a", "lists": []any{int64(1)}}),
			after:  jar(map[string]any{"seed": int64(9007199254740993), "lists": []any{int64(9223372036854775807)}}),
			want:   map[string]string{"": `{"metadata":{"uid":"h1"},"spec":{"lists":[9223372036854775807],"old":null,"seed":9007199254740993}}`},
		},
		"Readiness": {
			reason: "Of the status, the readiness gate alone is ours. Other conditions are the host's.",
			before: pod(), after: pod(func(p *corev1.Pod) {
				p.Labels = map[string]string{"a": "2"}
				p.Status.Phase = corev1.PodRunning
				p.Status.Conditions = []corev1.PodCondition{
					{Type: corev1.PodReady, Status: corev1.ConditionTrue},
					{Type: labels.ReadinessGates, Status: corev1.ConditionTrue},
				}
			}),
			want: map[string]string{
				"": `{"metadata":{"labels":{"a":"2"},"uid":"h1"}}`,
				"status": `{"metadata":{"uid":"h1"},"status":{"conditions":[` +
					`{"type":"sublet.dev/readiness-gates","status":"True","lastProbeTime":null,"lastTransitionTime":null}]}}`,
			},
		},
		"ReadinessAsBefore": {
			reason: "The condition is written when its status changes, not when its time does.",
			before: pod(func(p *corev1.Pod) {
				p.Status.Conditions = []corev1.PodCondition{{Type: labels.ReadinessGates, Status: corev1.ConditionTrue}}
			}),
			after: pod(func(p *corev1.Pod) {
				p.Status.Conditions = []corev1.PodCondition{{Type: labels.ReadinessGates, Status: corev1.ConditionTrue, Message: "m"}}
			}),
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patches, err := hostPatches(tc.before, tc.after)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, p := range patches {
				data, err := json.Marshal(p.fields)
				if err != nil {
					t.Fatal(err)
				}
				got[p.subresource] = string(data)
			}
			want := tc.want
			if want == nil {
				want = map[string]string{}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\n-want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestWriteVirtualUnstructured(t *testing.T) {
	t.Parallel()
	object := func(spec, status string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": "Thing",
			"metadata": map[string]any{"name": "x", "namespace": "web"},
			"spec":     map[string]any{"s": spec}, "status": map[string]any{"s": status},
		}}
	}
	tests := map[string]struct {
		reason string
		after  *unstructured.Unstructured
		want   []string
	}{
		"Nothing": {reason: "No difference, no request.", after: object("a", "a")},
		"Status":  {reason: "The status goes by itself.", after: object("a", "b"), want: []string{"update status"}},
		"Spec":    {reason: "The rest goes by itself.", after: object("b", "a"), want: []string{"update"}},
		"Both":    {reason: "Both go, one after the other.", after: object("b", "b"), want: []string{"update", "update status"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFakeServer("virtual", clocktesting.NewFakeClock(testStart()))
			before := server.add(object("a", "a"))
			tc.after.SetUID(before.GetUID())
			tc.after.SetResourceVersion(before.GetResourceVersion())
			tc.after.SetCreationTimestamp(before.GetCreationTimestamp())
			b := newBench(configMaps(), clocktesting.NewFakeClock(testStart()), server, newFakeServer("host", server.clock))
			if err := b.writeVirtual(b.scope(t.Context()), theKey(), nil, before, tc.after); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, server.requests); diff != "" {
				t.Errorf("%s\n-want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestConflictLeavesTheOthersWrite(t *testing.T) {
	t.Parallel()
	server := newFakeServer("virtual", clocktesting.NewFakeClock(testStart()))
	before := server.add(virtualPod()).(*corev1.Pod)
	theirs := before.DeepCopy()
	theirs.Labels = map[string]string{"theirs": "yes"}
	if err := server.Update(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	after := before.DeepCopy()
	after.Status.Phase = corev1.PodFailed
	b := newBench(pods(), clocktesting.NewFakeClock(testStart()), server, newFakeServer("host", server.clock))
	if err := b.writeVirtual(b.scope(t.Context()), theKey(), nil, before, after); err == nil {
		t.Error("A write on an old state must fail rather than undo what came between")
	}
}

// portsKind returns a kind whose Down fills in a list in which others write too: the host
// decides on node ports.
func portsKind() Kind {
	return Define("services", Resource[*corev1.Service, *corev1.Service]{
		Owner: Virtual,
		Names: translate.Hashed,
		Down: func(_ Scope, virtual, host *corev1.Service) error {
			ports := slices.Clone(virtual.Spec.Ports)
			for i := range ports {
				if i < len(host.Spec.Ports) {
					ports[i].NodePort = host.Spec.Ports[i].NodePort
				}
			}
			host.Spec.Ports = ports
			return nil
		},
	})
}

// TestSecondWriterOfAList lets a host controller and a tenant write into one list, while
// the engine's caches are late. Neither may lose a write.
func TestSecondWriterOfAList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := clocktesting.NewFakeClock(testStart())
		virtual := newFakeServer("virtual", c, service(func(s *corev1.Service) { s.UID = "v1" }))
		host := newFakeServer("host", c, hostService("v1"))
		b := newBench(portsKind(), c, virtual, host)
		hostKey := translate.Hashed(testCluster(), theKey())
		var nodePort, port int32 = 0, 80
		t.Repeat(map[string]func(*rapid.T){
			"tenant": func(t *rapid.T) {
				s := virtual.get(&corev1.Service{}, theKey()).(*corev1.Service)
				port = rapid.Int32Range(1, 99).Draw(t, "port")
				s.Spec.Ports[0].Port = port
				if err := virtual.Update(context.Background(), s); err != nil {
					t.Fatal(err)
				}
			},
			"controller": func(t *rapid.T) {
				s := host.get(&corev1.Service{}, hostKey).(*corev1.Service)
				nodePort = rapid.Int32Range(30000, 30099).Draw(t, "node port")
				s.Spec.Ports[0].NodePort = nodePort
				if err := host.Update(context.Background(), s); err != nil {
					t.Fatal(err)
				}
			},
			"see virtual": func(*rapid.T) { b.virtualView.refresh() },
			"see host":    func(*rapid.T) { b.hostView.refresh() },
			"step":        func(*rapid.T) { _, _ = b.reconcile(context.Background(), theKey()) },
			"": func(t *rapid.T) {
				if got := host.get(&corev1.Service{}, hostKey).(*corev1.Service).Spec.Ports[0].NodePort; got != nodePort {
					t.Fatalf("the node port of the host's controller was lost: %d, want %d", got, nodePort)
				}
			},
		})
		for range 5 {
			b.refresh()
			_, _ = b.reconcile(context.Background(), theKey())
			c.Step(expectationLife)
		}
		got := host.get(&corev1.Service{}, hostKey).(*corev1.Service).Spec.Ports[0]
		if got.Port != port || got.NodePort != nodePort {
			t.Fatalf("the host has port %d and node port %d, want %d and %d", got.Port, got.NodePort, port, nodePort)
		}
	})
}
