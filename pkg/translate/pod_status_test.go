package translate

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// at returns the time n minutes after the start.
func at(n int) metav1.Time {
	return metav1.NewTime(time.Date(2026, 1, 2, 3, n, 0, 0, time.UTC))
}

func condition(t corev1.PodConditionType, status corev1.ConditionStatus, change ...func(*corev1.PodCondition)) corev1.PodCondition {
	c := corev1.PodCondition{Type: t, Status: status, LastTransitionTime: at(1)}
	for _, f := range change {
		f(&c)
	}
	return c
}

func TestPodStatusComesUp(t *testing.T) {
	t.Parallel()
	virtual := webPod(func(pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{{Name: "init"}}
		pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
		pod.Spec.Volumes = []corev1.Volume{{Name: "data"}}
		pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		pod.Spec.Containers[0].Resources.Requests = quantities("example.com/gpu", "1")
		pod.Spec.Containers[0].Resources.Claims = []corev1.ResourceClaim{{Name: "whole"}, {Name: "part", Request: "one"}}
		pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: corev1.PodQOSBestEffort}
	})
	host := created(t, input(), virtual)
	if err := Pod(input(), virtual, host); err != nil { // It adds the ephemeral container.
		t.Fatal(err)
	}
	host.Spec.NodeName = "node-1"
	status := func(name string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, Ready: true, Image: "nginx:1", ContainerID: "containerd://" + name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(2)}}}
	}
	proxy, web := status("proxy"), status("web")
	broken := []corev1.ResourceHealth{{ResourceID: "gpu-0", Health: corev1.ResourceHealthStatusUnhealthy, Message: new("too hot")}}
	web.AllocatedResourcesStatus = []corev1.ResourceStatus{
		{Name: "example.com/gpu"}, {Name: "claim:whole", Resources: broken}, {Name: "claim:part/one"},
		{Name: "example.com/of-the-host"}, {Name: "claim:of-the-host"}, {Name: "claim:whole/one"}, {Name: "claim:part"},
	}
	web.VolumeMounts = []corev1.VolumeMountStatus{
		{Name: "data", MountPath: "/data", ReadOnly: true}, {Name: "data", MountPath: "/of-the-host"}, {Name: hostsName, MountPath: "/etc/hosts"},
	}
	host.Status = corev1.PodStatus{
		ObservedGeneration:         1,
		Phase:                      corev1.PodRunning,
		Conditions:                 []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionTrue), condition(corev1.PodReady, corev1.ConditionTrue)},
		Message:                    "all is well",
		Reason:                     "Fine",
		NominatedNodeName:          "node-1",
		HostIP:                     "192.168.0.1",
		HostIPs:                    []corev1.HostIP{{IP: "192.168.0.1"}},
		PodIP:                      "10.0.0.1",
		PodIPs:                     []corev1.PodIP{{IP: "10.0.0.1"}},
		StartTime:                  new(at(1)),
		InitContainerStatuses:      []corev1.ContainerStatus{status("init"), status("mesh-init")},
		ContainerStatuses:          []corev1.ContainerStatus{proxy, web},
		EphemeralContainerStatuses: []corev1.ContainerStatus{status("debug"), status("host-debug")},
		QOSClass:                   corev1.PodQOSBurstable,
		Resize:                     corev1.PodResizeStatusInProgress,
		AllocatedResources:         quantities("cpu", "1"),
		Resources:                  &corev1.ResourceRequirements{Requests: quantities("cpu", "1")},
		ResourceClaimStatuses:      []corev1.PodResourceClaimStatus{{Name: "of-the-host"}},
		VolumeHealth:               []corev1.PodVolumeHealth{{Name: "data"}, {Name: "of-the-host"}},
	}
	want := *host.Status.DeepCopy()
	want.QOSClass = corev1.PodQOSBestEffort
	want.NominatedNodeName = ""
	want.InitContainerStatuses = want.InitContainerStatuses[:1]
	want.ContainerStatuses = want.ContainerStatuses[1:]
	want.ContainerStatuses[0].AllocatedResourcesStatus = want.ContainerStatuses[0].AllocatedResourcesStatus[:3]
	want.ContainerStatuses[0].VolumeMounts = want.ContainerStatuses[0].VolumeMounts[:1]
	want.EphemeralContainerStatuses = want.EphemeralContainerStatuses[:1]
	want.ResourceClaimStatuses = nil
	want.VolumeHealth = want.VolumeHealth[:1]

	before := host.DeepCopy()
	PodStatus(shop, host, virtual)
	if diff := cmp.Diff(want, virtual.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, host); diff != "" {
		t.Errorf("the host pod is shared with a cache and has changed:\n%s", diff)
	}
	PodStatus(shop, host, virtual)
	if diff := cmp.Diff(want, virtual.Status); diff != "" {
		t.Errorf("a second time (-want +got):\n%s", diff)
	}
}

func TestNominatedNode(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ reason, virtual, host, want string }{
		"Nominated":    {reason: "the host's scheduler makes room there", want: "node-1"},
		"Bound":        {reason: "the host pod has its node", host: "node-1"},
		"BoundVirtual": {reason: "an API server refuses a nomination for a pod that names its node", virtual: "node-1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual := webPod(func(pod *corev1.Pod) { pod.Spec.NodeName = tt.virtual })
			host := created(t, input(), virtual)
			host.Spec.NodeName, host.Status.NominatedNodeName = tt.host, "node-1"
			PodStatus(shop, host, virtual)
			if got := virtual.Status.NominatedNodeName; got != tt.want {
				t.Errorf("%s: %q, want %q", tt.reason, got, tt.want)
			}
		})
	}
}

func TestPodStatusConditions(t *testing.T) {
	t.Parallel()
	const gateA, gateB = corev1.PodConditionType("example.com/a"), corev1.PodConditionType("example.com/b")
	later := func(c *corev1.PodCondition) { c.LastTransitionTime = at(5) }
	withReason := func(reason, message string) func(*corev1.PodCondition) {
		return func(c *corev1.PodCondition) { c.Reason, c.Message = reason, message }
	}
	ready := condition(corev1.PodReady, corev1.ConditionTrue)
	tests := map[string]struct {
		reason        string
		gates         []corev1.PodConditionType
		host, virtual []corev1.PodCondition
		want          []corev1.PodCondition
	}{
		"HostWins": {
			reason:  "the host's kubelet and scheduler know",
			host:    []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionTrue), ready},
			virtual: []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionFalse, later)},
			want:    []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionTrue), ready},
		},
		"BoundHere": {
			reason:  "binding the virtual pod has written that already, a moment later",
			host:    []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionTrue), ready},
			virtual: []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionTrue, later), condition(corev1.PodReady, corev1.ConditionTrue, later)},
			want:    []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionTrue, later), ready},
		},
		"GoneOnTheHost": {
			reason:  "a resize that is over is over in the virtual cluster too",
			host:    []corev1.PodCondition{ready},
			virtual: []corev1.PodCondition{ready, condition(corev1.PodResizeInProgress, corev1.ConditionTrue)},
			want:    []corev1.PodCondition{ready},
		},
		"VirtualStays": {
			reason:  "what a controller of the tenant wrote is kept",
			host:    []corev1.PodCondition{ready},
			virtual: []corev1.PodCondition{condition(corev1.DisruptionTarget, corev1.ConditionTrue), condition("example.com/mine", corev1.ConditionFalse)},
			want:    []corev1.PodCondition{ready, condition(corev1.DisruptionTarget, corev1.ConditionTrue), condition("example.com/mine", corev1.ConditionFalse)},
		},
		"Disrupted": {
			reason:  "why the host ends a pod is told",
			host:    []corev1.PodCondition{condition(corev1.DisruptionTarget, corev1.ConditionTrue, withReason("PreemptionByScheduler", ""))},
			virtual: []corev1.PodCondition{condition(corev1.DisruptionTarget, corev1.ConditionFalse)},
			want:    []corev1.PodCondition{condition(corev1.DisruptionTarget, corev1.ConditionTrue, withReason("PreemptionByScheduler", ""))},
		},
		"GatesOpen": {
			reason:  "a pod is ready from the moment on at which the last gate opened",
			gates:   []corev1.PodConditionType{gateA},
			host:    []corev1.PodCondition{ready},
			virtual: []corev1.PodCondition{condition(gateA, corev1.ConditionTrue, later)},
			want:    []corev1.PodCondition{condition(corev1.PodReady, corev1.ConditionTrue, later), condition(gateA, corev1.ConditionTrue, later)},
		},
		"GatesClosed": {
			reason:  "in the words of a kubelet",
			gates:   []corev1.PodConditionType{gateA, gateB},
			host:    []corev1.PodCondition{ready, condition(gateA, corev1.ConditionTrue)},
			virtual: []corev1.PodCondition{condition(gateA, corev1.ConditionFalse)},
			want: []corev1.PodCondition{
				condition(corev1.PodReady, corev1.ConditionFalse, withReason("ReadinessGatesNotReady",
					`the status of pod readiness gate "example.com/a" is not "True", but False, corresponding condition of pod readiness gate "example.com/b" does not exist.`)),
				condition(gateA, corev1.ConditionFalse),
			},
		},
		"GateOfTheHostClosed": {
			reason: "the gate of the host pod follows, its name is not the tenant's",
			gates:  []corev1.PodConditionType{gateA},
			host: []corev1.PodCondition{condition(corev1.PodReady, corev1.ConditionFalse,
				withReason("ReadinessGatesNotReady", `corresponding condition of pod readiness gate "sublet.dev/readiness-gates" does not exist.`))},
			virtual: []corev1.PodCondition{condition(gateA, corev1.ConditionFalse)},
			want: []corev1.PodCondition{
				condition(corev1.PodReady, corev1.ConditionFalse, withReason("ReadinessGatesNotReady", `the status of pod readiness gate "example.com/a" is not "True", but False`)),
				condition(gateA, corev1.ConditionFalse),
			},
		},
		"GateOfTheHostBehind": {
			reason: "no Service leads to the pod yet",
			gates:  []corev1.PodConditionType{gateA},
			host: []corev1.PodCondition{
				condition(corev1.PodReady, corev1.ConditionFalse, withReason("ReadinessGatesNotReady", `corresponding condition of pod readiness gate "sublet.dev/readiness-gates" does not exist.`)),
				condition(labels.ReadinessGates, corev1.ConditionTrue),
			},
			virtual: []corev1.PodCondition{condition(gateA, corev1.ConditionTrue)},
			want: []corev1.PodCondition{
				condition(corev1.PodReady, corev1.ConditionFalse, withReason("ReadinessGatesNotReady", readinessNotSeen)),
				condition(gateA, corev1.ConditionTrue),
			},
		},
		"GateThatTheHostAdded": {
			reason: "the host's admission may give pods a gate of its own",
			gates:  []corev1.PodConditionType{gateA},
			host: []corev1.PodCondition{condition(corev1.PodReady, corev1.ConditionFalse,
				withReason("ReadinessGatesNotReady", `corresponding condition of pod readiness gate "host.example.com/lb" does not exist.`))},
			virtual: []corev1.PodCondition{condition(gateA, corev1.ConditionTrue)},
			want: []corev1.PodCondition{
				condition(corev1.PodReady, corev1.ConditionFalse, withReason("ReadinessGatesNotReady", `corresponding condition of pod readiness gate "host.example.com/lb" does not exist.`)),
				condition(gateA, corev1.ConditionTrue),
			},
		},
		"ContainersOfTheHost": {
			reason: "the tenant does not know the other containers of the host pod",
			host: []corev1.PodCondition{
				condition(corev1.PodInitialized, corev1.ConditionFalse, withReason("ContainersNotInitialized", "containers with incomplete status: [sublet-hosts]")),
				condition(corev1.ContainersReady, corev1.ConditionFalse,
					withReason("ContainersNotReady", "containers with unknown status: [proxy mesh], containers with unready status: [proxy web mesh]")),
				condition(corev1.PodReady, corev1.ConditionFalse, withReason("ContainersNotReady", "containers with unready status: [web proxy]")),
				condition("host.example.com/other", corev1.ConditionFalse, withReason("Mesh", "containers with unready status: [proxy]")),
			},
			want: []corev1.PodCondition{
				condition(corev1.PodInitialized, corev1.ConditionFalse, withReason("ContainersNotInitialized", hostContainersNotReady)),
				condition(corev1.ContainersReady, corev1.ConditionFalse, withReason("ContainersNotReady", "containers with unready status: [web]")),
				condition(corev1.PodReady, corev1.ConditionFalse, withReason("ContainersNotReady", "containers with unready status: [web]")),
				condition("host.example.com/other", corev1.ConditionFalse, withReason("Mesh", "containers with unready status: [proxy]")),
			},
		},
		"NotReadyAnyway": {
			reason:  "the containers come first",
			gates:   []corev1.PodConditionType{gateA},
			host:    []corev1.PodCondition{condition(corev1.PodReady, corev1.ConditionFalse, withReason("ContainersNotReady", "web"))},
			virtual: nil,
			want:    []corev1.PodCondition{condition(corev1.PodReady, corev1.ConditionFalse, withReason("ContainersNotReady", "web"))},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual := webPod(func(pod *corev1.Pod) {
				for _, gate := range tt.gates {
					pod.Spec.ReadinessGates = append(pod.Spec.ReadinessGates, corev1.PodReadinessGate{ConditionType: gate})
				}
			})
			host := created(t, input(), virtual)
			virtual.Status.Conditions, host.Status.Conditions = tt.virtual, tt.host
			PodStatus(shop, host, virtual)
			if diff := cmp.Diff(tt.want, virtual.Status.Conditions); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
			PodStatus(shop, host, virtual)
			if diff := cmp.Diff(tt.want, virtual.Status.Conditions); diff != "" {
				t.Errorf("a second time (-want +got):\n%s", diff)
			}
		})
	}
}

func TestObservedGeneration(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		change func(virtual, host *corev1.Pod)
		want   int64
	}{
		"Seen": {
			reason: "the host's kubelet has seen the last change, which holds the tenant's",
			change: func(_, host *corev1.Pod) { host.Generation, host.Status.ObservedGeneration = 9, 9 },
			want:   4,
		},
		"HostBehind": {
			reason: "the host's kubelet has not seen the last change",
			change: func(_, host *corev1.Pod) { host.Generation, host.Status.ObservedGeneration = 9, 8 },
			want:   3,
		},
		"NotSent": {
			reason: "the tenant's change has not reached the host",
			change: func(virtual, host *corev1.Pod) {
				host.Generation, host.Status.ObservedGeneration = 9, 9
				virtual.Spec.Containers[0].Image = "nginx:2"
			},
			want: 3,
		},
		"ContainerNotSent": {
			reason: "a new container has not reached the host",
			change: func(virtual, host *corev1.Pod) {
				host.Generation, host.Status.ObservedGeneration = 9, 9
				virtual.Spec.EphemeralContainers = make([]corev1.EphemeralContainer, 1)
			},
			want: 3,
		},
		"OldHost": {
			reason: "the host does not say what it has seen",
			change: func(_, host *corev1.Pod) { host.Generation, host.Status.ObservedGeneration = 0, 0 },
			want:   3,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual := webPod(func(pod *corev1.Pod) { pod.Generation, pod.Status.ObservedGeneration = 4, 3 })
			host := created(t, input(), virtual)
			host.Status.Conditions = []corev1.PodCondition{condition(corev1.PodReady, corev1.ConditionTrue, func(c *corev1.PodCondition) { c.ObservedGeneration = 9 })}
			tt.change(virtual, host)
			PodStatus(shop, host, virtual)
			got := []int64{virtual.Status.ObservedGeneration, virtual.Status.Conditions[0].ObservedGeneration}
			if diff := cmp.Diff([]int64{tt.want, tt.want}, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
		})
	}
}

func TestStatusSpeaksOfVirtualNames(t *testing.T) {
	t.Parallel()
	virtual := webPod(func(pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "busybox:1"}}
		pod.Spec.Volumes = []corev1.Volume{
			{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
			{Name: "app", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "app"}}}},
		}
	})
	host := created(t, input(), virtual)
	name := func(n string) string { return Hashed(shop, keyOf("default", n)).Name }
	waiting := "back-off 10s restarting failed container=web pod=" + host.Name + "_tenant-shop(host-uid)"
	exit := "written by the container: " + host.Name
	host.Status = corev1.PodStatus{
		Message: "pod tenant-shop/" + host.Name + " was evicted",
		Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: `persistentvolumeclaim "` + name("data") + `" not found`,
		}},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name:                 "web",
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Message: waiting}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: exit}},
		}},
		VolumeHealth: []corev1.PodVolumeHealth{{
			Name: "data", HealthConditions: []corev1.VolumeHealthCondition{{Message: "claim tenant-shop/" + name("data") + " is degraded"}},
		}},
		InitContainerStatuses: []corev1.ContainerStatus{{
			Name: "init", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				Reason: "StartError", Message: `error mounting "/var/lib/kubelet/pods/host-uid/volume-subpaths/app"`,
			}},
		}},
	}
	PodStatus(shop, host, virtual)
	got := []string{
		virtual.Status.VolumeHealth[0].HealthConditions[0].Message, virtual.Status.InitContainerStatuses[0].State.Terminated.Message,
		virtual.Status.Message, virtual.Status.Conditions[0].Message,
		virtual.Status.ContainerStatuses[0].State.Waiting.Message, virtual.Status.ContainerStatuses[0].LastTerminationState.Terminated.Message,
	}
	want := []string{
		"claim default/data is degraded", `error mounting "/var/lib/kubelet/pods/virtual-uid/volume-subpaths/app"`,
		"pod default/web-0 was evicted", `persistentvolumeclaim "data" not found`,
		"back-off 10s restarting failed container=web pod=web-0_default(virtual-uid)", exit,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
	rewriter := &Rewriter{Cluster: shop}
	rewriter.AddPod(virtual, host.UID)
	text := rewriter.Rewrite(`MountVolume.SetUp failed: configmap "tenant-shop/` + name("app") + `" not found`)
	if want := `MountVolume.SetUp failed: configmap "default/app" not found`; text != want {
		t.Errorf("Rewrite = %q, want %q", text, want)
	}
	if strings.Contains(rewriter.Rewrite(name("data")), name("data")) {
		t.Errorf("a name of the host is left over")
	}
}
