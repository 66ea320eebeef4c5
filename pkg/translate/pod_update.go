package translate

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sublet-dev/sublet/api/labels"
)

// updatePod brings what may still change of a host pod up to date.
//
// Fields that can only grow or shrink in one direction are compared as they are.
// The others, images and resources above all, may have been changed by the host's
// own admission, so a difference alone does not tell who made it: they are sent
// when the tenant's wish is another than the one that was last sent, and the
// digest of that one is on the host pod.
func updatePod(in PodInput, virtual, host *corev1.Pod) error {
	syncDeadlines(virtual, host)
	syncTolerations(virtual, host)
	addEphemeralContainers(in, virtual, host)
	gated := len(host.Spec.SchedulingGates) > 0
	if wish := wishes(virtual); host.Annotations[labels.Agreed] != wish {
		host.Annotations[labels.Agreed] = wish
		syncContainers(virtual.Spec.InitContainers, host.Spec.InitContainers)
		syncContainers(virtual.Spec.Containers, host.Spec.Containers)
		syncPodResources(virtual, host)
		if gated {
			syncNodeRules(in, virtual, host)
		}
	}
	if gated {
		openGates(virtual, host)
	}
	return nil
}

// wishes is a digest of what the tenant asks for among the fields that the host
// may change on its own.
func wishes(virtual *corev1.Pod) string {
	type container struct {
		Name, Image string
		Resources   corev1.ResourceRequirements
	}
	asked := struct {
		Containers   []container
		Resources    *corev1.ResourceRequirements
		NodeSelector map[string]string
		NodeAffinity *corev1.NodeAffinity
	}{Resources: virtual.Spec.Resources, NodeSelector: virtual.Spec.NodeSelector}
	if virtual.Spec.Affinity != nil {
		asked.NodeAffinity = virtual.Spec.Affinity.NodeAffinity
	}
	for _, list := range [][]corev1.Container{virtual.Spec.InitContainers, virtual.Spec.Containers} {
		for i := range list {
			asked.Containers = append(asked.Containers, container{list[i].Name, list[i].Image, list[i].Resources})
		}
	}
	return digest(asked)
}

// syncDeadlines follows the two deadlines of a pod. One may only come nearer; the
// other only changes from a negative value, which means at once, to the least.
func syncDeadlines(virtual, host *corev1.Pod) {
	if want := virtual.Spec.ActiveDeadlineSeconds; want != nil {
		if have := host.Spec.ActiveDeadlineSeconds; have == nil || *have > *want {
			host.Spec.ActiveDeadlineSeconds = new(*want)
		}
	}
	want, have := virtual.Spec.TerminationGracePeriodSeconds, host.Spec.TerminationGracePeriodSeconds
	if want != nil && *want == 1 && have != nil && *have < 0 {
		host.Spec.TerminationGracePeriodSeconds = new(int64(1))
	}
}

// syncTolerations adds the tenant's tolerations. None can be taken away.
func syncTolerations(virtual, host *corev1.Pod) {
	for _, toleration := range virtual.Spec.Tolerations {
		if !slices.ContainsFunc(host.Spec.Tolerations, func(t corev1.Toleration) bool { return equality.Semantic.DeepEqual(t, toleration) }) {
			host.Spec.Tolerations = append(host.Spec.Tolerations, toleration)
		}
	}
}

// addEphemeralContainers starts the containers that the tenant added to a running
// pod. One that is there can neither change nor go.
func addEphemeralContainers(in PodInput, virtual, host *corev1.Pod) {
	var env []corev1.EnvVar
	for i := range virtual.Spec.EphemeralContainers {
		name := virtual.Spec.EphemeralContainers[i].Name
		if slices.ContainsFunc(host.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name }) {
			continue
		}
		if env == nil {
			env = serviceEnv(in, virtual)
		}
		added := corev1.PodSpec{EphemeralContainers: []corev1.EphemeralContainer{*virtual.Spec.EphemeralContainers[i].DeepCopy()}}
		rename(in.Cluster, virtual.Namespace, &added)
		eachContainer(&added, func(container *corev1.Container) { containerEnv(env, virtual, container) })
		host.Spec.EphemeralContainers = append(host.Spec.EphemeralContainers, added.EphemeralContainers...)
	}
}

// syncContainers sends images and resources. Containers and resources that only
// the host knows stay as they are.
func syncContainers(virtual, host []corev1.Container) {
	for i := range virtual {
		j := slices.IndexFunc(host, func(c corev1.Container) bool { return c.Name == virtual[i].Name })
		if j < 0 {
			continue
		}
		host[j].Image = virtual[i].Image
		syncResources(&virtual[i].Resources, &host[j].Resources)
	}
}

func syncPodResources(virtual, host *corev1.Pod) {
	if virtual.Spec.Resources == nil {
		return
	}
	if host.Spec.Resources == nil {
		host.Spec.Resources = &corev1.ResourceRequirements{}
	}
	syncResources(virtual.Spec.Resources, host.Spec.Resources)
}

func syncResources(virtual, host *corev1.ResourceRequirements) {
	host.Limits = syncQuantities(virtual.Limits, host.Limits)
	host.Requests = syncQuantities(virtual.Requests, host.Requests)
}

func syncQuantities(virtual, host corev1.ResourceList) corev1.ResourceList {
	for name, want := range virtual {
		have, ok := host[name]
		if ok && equalQuantity(have, want) {
			continue
		}
		if host == nil {
			host = corev1.ResourceList{}
		}
		host[name] = want
	}
	return host
}

func equalQuantity(a, b resource.Quantity) bool {
	return a.Cmp(b) == 0
}

// syncNodeRules follows the rules about nodes, which may get stricter as long as
// the pod is gated.
func syncNodeRules(in PodInput, virtual, host *corev1.Pod) {
	for key, value := range virtual.Spec.NodeSelector {
		if _, ok := host.Spec.NodeSelector[key]; !ok {
			host.Spec.NodeSelector = with(host.Spec.NodeSelector, map[string]string{key: value})
		}
	}
	var rules corev1.PodSpec
	if virtual.Spec.Affinity != nil {
		rules.Affinity = &corev1.Affinity{NodeAffinity: virtual.Spec.Affinity.NodeAffinity.DeepCopy()}
	}
	confine(in, virtual, &rules)
	if rules.Affinity == nil || rules.Affinity.NodeAffinity == nil {
		return
	}
	if host.Spec.Affinity == nil {
		host.Spec.Affinity = &corev1.Affinity{}
	}
	host.Spec.Affinity.NodeAffinity = rules.Affinity.NodeAffinity
}

// openGates removes the scheduling gates that the tenant removed. Gates that the
// host added are the host's to open.
func openGates(virtual, host *corev1.Pod) {
	closed := make(map[string]bool, len(virtual.Spec.SchedulingGates))
	for _, gate := range virtual.Spec.SchedulingGates {
		closed[TenantLabel(gate.Name)] = true
	}
	host.Spec.SchedulingGates = slices.DeleteFunc(host.Spec.SchedulingGates, func(gate corev1.PodSchedulingGate) bool {
		return strings.HasPrefix(gate.Name, labels.TenantPrefix) && !closed[gate.Name]
	})
}
