package translate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

func TestUpdatePod(t *testing.T) {
	t.Parallel()
	toleration := corev1.Toleration{Key: "gpu", Operator: corev1.TolerationOpExists}
	tests := map[string]struct {
		reason string
		// start changes the pod before it is created, mutate is what the host makes
		// of the copy and change what the tenant does afterwards.
		start, mutate, change func(*corev1.Pod)
		// want turns the host pod before the update into that after it.
		want func(*corev1.Pod)
	}{
		"HostDefaults": {
			reason: "the host's limits stand beside the tenant's requests",
			start:  func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = quantities("cpu", "1") },
			mutate: func(p *corev1.Pod) {
				p.Spec.Containers[0].Resources.Requests = quantities("cpu", "1", "memory", "1Gi")
				p.Spec.Containers[0].Resources.Limits = quantities("memory", "1Gi")
			},
		},
		"HostChangedResources": {
			reason: "what an autoscaler of the host set is not taken back as long as the tenant asks for the same",
			start:  func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = quantities("cpu", "1") },
			mutate: func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = quantities("cpu", "250m") },
		},
		"HostChangedImage": {
			reason: "the host pulls through a mirror",
			mutate: func(p *corev1.Pod) { p.Spec.Containers[0].Image = "mirror.example/nginx:1" },
		},
		"HostAddedContainer": {
			reason: "a sidecar of the host is the host's",
			mutate: func(p *corev1.Pod) {
				p.Spec.Containers = append([]corev1.Container{{Name: "proxy", Image: "proxy:1"}}, p.Spec.Containers...)
				p.Spec.InitContainers = []corev1.Container{{Name: "proxy-init", Image: "proxy:1"}}
				p.Spec.Volumes = []corev1.Volume{{Name: "proxy"}}
				p.Spec.Tolerations = []corev1.Toleration{{Key: "host", Operator: corev1.TolerationOpExists}}
				p.Spec.PriorityClassName, p.Spec.Priority = "tenants", new(int32(-5))
				p.Labels["mesh"], p.Annotations["mesh"] = "on", "injected"
			},
		},
		"Image": {
			reason: "a new image goes to the container of that name, wherever it stands",
			mutate: func(p *corev1.Pod) {
				p.Spec.Containers = append([]corev1.Container{{Name: "proxy", Image: "proxy:1"}}, p.Spec.Containers...)
			},
			change: func(p *corev1.Pod) { p.Spec.Containers[0].Image = "nginx:2" },
			want:   func(p *corev1.Pod) { p.Spec.Containers[1].Image = "nginx:2" },
		},
		"ImageOfOne": {
			reason: "a change of one container does not send the image of another that the host has changed",
			start: func(p *corev1.Pod) {
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "log", Image: "log:1"})
			},
			mutate: func(p *corev1.Pod) { p.Spec.Containers[0].Image = "mirror.example/nginx:1" },
			change: func(p *corev1.Pod) { p.Spec.Containers[1].Image = "log:2" },
			want:   func(p *corev1.Pod) { p.Spec.Containers[1].Image = "log:2" },
		},
		"InitImage": {
			reason: "the image of an init container may change too",
			start:  func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "init:1"}} },
			change: func(p *corev1.Pod) { p.Spec.InitContainers[0].Image = "init:2" },
			want:   func(p *corev1.Pod) { p.Spec.InitContainers[0].Image = "init:2" },
		},
		"Resize": {
			reason: "the tenant's new requests go down, the host's own limit stays",
			start:  func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = quantities("cpu", "1") },
			mutate: func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = quantities("memory", "1Gi") },
			change: func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = quantities("cpu", "2") },
			want:   func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = quantities("cpu", "2") },
		},
		"ResizeOfThePod": {
			reason: "resources of the pod as a whole may change too",
			start: func(p *corev1.Pod) {
				p.Spec.Resources = &corev1.ResourceRequirements{Requests: quantities("cpu", "1")}
			},
			change: func(p *corev1.Pod) { p.Spec.Resources.Requests = quantities("cpu", "3") },
			want:   func(p *corev1.Pod) { p.Spec.Resources.Requests = quantities("cpu", "3") },
		},
		"SameInOtherWords": {
			reason: "an equal quantity is no change, however it is written",
			start:  func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = quantities("cpu", "1000m") },
			mutate: func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = quantities("cpu", "1") },
			change: func(p *corev1.Pod) { p.Spec.Containers[0].Image = "nginx:2" },
			want:   func(p *corev1.Pod) { p.Spec.Containers[0].Image = "nginx:2" },
		},
		"Labels": {
			reason: "labels follow, those of the host stay",
			mutate: func(p *corev1.Pod) { p.Labels["mesh"] = "on" },
			change: func(p *corev1.Pod) { p.Labels = map[string]string{"tier": "front"} },
			want: func(p *corev1.Pod) {
				delete(p.Labels, TenantLabel("app"))
				p.Labels[TenantLabel("tier")] = "front"
			},
		},
		"TopologyLabels": {
			reason: "each API server labels a pod by its node when it is bound; that is no reason to write while nothing selects by it",
			change: func(p *corev1.Pod) {
				p.Labels = map[string]string{"app": "web", corev1.LabelTopologyZone: "a", corev1.LabelTopologyRegion: "b"}
			},
		},
		"Annotations": {
			reason: "the tenant's annotations are nothing to the host",
			change: func(p *corev1.Pod) { p.Annotations = map[string]string{"cni.example/network": "none"} },
		},
		"Bound": {
			reason: "the virtual pod gets its node from the host pod",
			mutate: func(p *corev1.Pod) { p.Spec.NodeName = "node-1" },
			change: func(p *corev1.Pod) { p.Spec.NodeName = "node-1" },
		},
		"Deadline": {
			reason: "a deadline may be set or come nearer",
			mutate: func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(100)) },
			change: func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(10)) },
			want:   func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(10)) },
		},
		"LaterDeadline": {
			reason: "a nearer deadline of the host stays, no API server would take a later one",
			mutate: func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(5)) },
			change: func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(10)) },
		},
		"GracePeriod": {
			reason: "a negative grace period may only become the least one",
			mutate: func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = new(int64(-1)) },
			change: func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = new(int64(1)) },
			want:   func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = new(int64(1)) },
		},
		"OtherGracePeriod": {
			reason: "any other change of it would be refused",
			mutate: func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = new(int64(10)) },
		},
		"Toleration": {
			reason: "tolerations may be added, those of the host stay",
			mutate: func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Key: "host"}} },
			change: func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{toleration} },
			want:   func(p *corev1.Pod) { p.Spec.Tolerations = append(p.Spec.Tolerations, toleration) },
		},
		"TolerationSeconds": {
			reason: "the shortest of several would count, so the seconds change in place; the host's own stay",
			start: func(p *corev1.Pod) {
				p.Spec.Tolerations = []corev1.Toleration{{Key: "gone", Operator: corev1.TolerationOpExists, TolerationSeconds: new(int64(60))}}
			},
			mutate: func(p *corev1.Pod) {
				p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: "host", TolerationSeconds: new(int64(5))})
			},
			change: func(p *corev1.Pod) { p.Spec.Tolerations[0].TolerationSeconds = new(int64(3600)) },
			want:   func(p *corev1.Pod) { p.Spec.Tolerations[0].TolerationSeconds = new(int64(3600)) },
		},
		"Gates": {
			reason: "the tenant opens a gate of theirs, the host's stays closed",
			start: func(p *corev1.Pod) {
				p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/a"}, {Name: "example.com/b"}}
			},
			mutate: func(p *corev1.Pod) {
				p.Spec.SchedulingGates = append(p.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: "host.example/queue"})
			},
			change: func(p *corev1.Pod) { p.Spec.SchedulingGates = p.Spec.SchedulingGates[1:] },
			want:   func(p *corev1.Pod) { p.Spec.SchedulingGates = p.Spec.SchedulingGates[1:] },
		},
		"GatedNode": {
			reason: "as long as a pod is gated its rules about nodes may get stricter",
			start: func(p *corev1.Pod) {
				p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/a"}}
			},
			mutate: func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"pool": "tenants"} },
			change: func(p *corev1.Pod) {
				p.Spec.SchedulingGates = nil
				p.Spec.NodeSelector = map[string]string{"zone": "a"}
			},
			want: func(p *corev1.Pod) {
				p.Spec.SchedulingGates = []corev1.PodSchedulingGate{}
				p.Spec.NodeSelector = map[string]string{"pool": "tenants", "zone": "a"}
			},
		},
		"GatedAffinity": {
			reason: "a gated pod may still be sent to certain nodes",
			start: func(p *corev1.Pod) {
				p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/a"}}
			},
			change: func(p *corev1.Pod) { p.Spec.Affinity = zoneA() },
			want:   func(p *corev1.Pod) { p.Spec.Affinity = zoneA() },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apply := func(f func(*corev1.Pod), pod *corev1.Pod) {
				if f != nil {
					f(pod)
				}
			}
			virtual := webPod()
			apply(tt.start, virtual)
			host := created(t, input(), virtual)
			apply(tt.mutate, host)
			want := host.DeepCopy()
			apply(tt.want, want)
			apply(tt.change, virtual)
			requested, err := EncodeLastApplied(digestRequests(virtual))
			if err != nil {
				t.Fatal(err)
			}
			want.Annotations[labels.LastApplied] = requested

			if err := Pod(input(), virtual, host); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, host); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
			before := host.DeepCopy()
			if err := Pod(input(), virtual, host); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, host); diff != "" {
				t.Errorf("the update is sent again and again (-once +twice):\n%s", diff)
			}
		})
	}
}

func zoneA() *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}}}}},
	}}}
}

func TestGatedPodStaysOnVisibleNodes(t *testing.T) {
	t.Parallel()
	in := input()
	in.NodeSelector = map[string]string{"pool": "tenants"}
	virtual := webPod(func(p *corev1.Pod) {
		p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/a"}}
	})
	host := created(t, in, virtual)
	virtual.Spec.Affinity = zoneA()
	if err := Pod(in, virtual, host); err != nil {
		t.Fatal(err)
	}
	want := zoneA()
	prependNodeRequirements(&corev1.PodSpec{Affinity: want}, nil, []corev1.NodeSelectorRequirement{{Key: "pool", Operator: corev1.NodeSelectorOpIn, Values: []string{"tenants"}}})
	if diff := cmp.Diff(want, host.Spec.Affinity); diff != "" {
		t.Errorf("affinity (-want +got):\n%s", diff)
	}
}

// TestHostAdmissionThatInsists checks a host that sets the image back at each update: the
// tenant's request is written once.
func TestHostAdmissionThatInsists(t *testing.T) {
	t.Parallel()
	virtual := webPod()
	host := created(t, input(), virtual)
	virtual.Spec.Containers[0].Image = "nginx:2"
	if err := Pod(input(), virtual, host); err != nil || host.Spec.Containers[0].Image != "nginx:2" {
		t.Fatalf("the new image is not sent: %s, %v", host.Spec.Containers[0].Image, err)
	}
	host.Spec.Containers[0].Image = "mirror.example/nginx:2"
	if err := Pod(input(), virtual, host); err != nil || host.Spec.Containers[0].Image != "mirror.example/nginx:2" {
		t.Errorf("the host's image is fought over: %s, %v", host.Spec.Containers[0].Image, err)
	}
}

// TestResolveAnnotations resolves what a kubelet would expand, and many references to a large
// annotation.
func TestResolveAnnotations(t *testing.T) {
	t.Parallel()
	const large = 20 << 10
	virtual := webPod(func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{"price": "a$$b $(POD) $", "large": strings.Repeat("x", large)}
	})
	refer := func(key string) corev1.EnvVar {
		return corev1.EnvVar{Name: "V", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['" + key + "']"}}}
	}
	env := []corev1.EnvVar{refer("price")}
	for range 1000 {
		env = append(env, refer("large"))
	}
	env = append(env, refer("price"))
	resolveAnnotations(virtual, env)
	for _, i := range []int{0, len(env) - 1} {
		// A kubelet takes two of the sign for one, and what is in parentheses after one for a variable.
		if got, want := env[i].Value, "a$$$$b $$(POD) $$"; got != want {
			t.Errorf("the text of the variable is %q, want %q", got, want)
		}
	}
	size, left := 0, 0
	for _, e := range env {
		size += len(e.Value)
		if e.ValueFrom != nil {
			left++
		}
	}
	if size > maxResolved || left != 1000-maxResolved/large {
		t.Errorf("%d bytes of text and %d references, want at most %d bytes, and what is more as references", size, left, maxResolved)
	}
}

// TestDebugContainersOfOthers adds containers under names that the host pod has already. Only
// those that are the tenant's count as added.
func TestDebugContainersOfOthers(t *testing.T) {
	t.Parallel()
	debug := func(name, image string) corev1.EphemeralContainer {
		return corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: image}}
	}
	virtual := webPod()
	in := input()
	host := created(t, in, virtual)
	virtual.Spec.EphemeralContainers = []corev1.EphemeralContainer{debug("mine", "busybox:1"), debug("operators", "busybox:1")}
	host.Spec.EphemeralContainers = []corev1.EphemeralContainer{debug("operators", "tools:1")}
	host.Spec.EphemeralContainers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
	want := []corev1.EphemeralContainer{
		*host.Spec.EphemeralContainers[0].DeepCopy(), toHostDebugContainer(in, virtual, &virtual.Spec.EphemeralContainers[0]),
	}
	unrecorded := host.Annotations[labels.LastApplied]
	for _, reason := range []string{"the first look", "the next one", "a kill before the record was written"} {
		if reason == "a kill before the record was written" {
			host.Annotations[labels.LastApplied] = unrecorded
			if foreign := ForeignDebugContainers(virtual, host); len(foreign) > 0 {
				t.Errorf("%s: %v are not known to be of others", reason, foreign)
			}
		}
		if err := Pod(in, virtual, host); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, host.Spec.EphemeralContainers); diff != "" {
			t.Errorf("%s: containers on the host (-want +got):\n%s", reason, diff)
		}
		if !IsTenantsDebugContainer(host, "mine") || IsTenantsDebugContainer(host, "operators") {
			t.Errorf("%s: the record of the tenant's containers is %s", reason, host.Annotations[labels.LastApplied])
		}
		if diff := cmp.Diff([]string{"operators"}, ForeignDebugContainers(virtual, host)); diff != "" {
			t.Errorf("%s: names of others (-want +got):\n%s", reason, diff)
		}
	}
	host.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "mine"}, {Name: "operators"}}
	virtual.Generation, host.Generation, host.Status.ObservedGeneration = 5, 3, 3
	PodStatus(shop, host, virtual)
	if virtual.Status.ObservedGeneration != 5 {
		t.Errorf("generation %d is observed, want 5: a container that never starts does not hold it back", virtual.Status.ObservedGeneration)
	}
	if diff := cmp.Diff([]corev1.ContainerStatus{{Name: "mine"}}, virtual.Status.EphemeralContainerStatuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}
