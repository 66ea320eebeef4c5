package translate

import (
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sublet-dev/sublet/api/labels"
)

// updatePod updates the mutable fields of a host pod.
//
// Some fields can only change in one direction, such as deadlines. They are compared directly.
// Others may also be changed by the host's admission, such as images and resources. They are
// written only if the tenant's request differs from the last applied one, whose digest is in
// the annotation [labels.LastApplied] of the host pod.
func updatePod(in PodInput, virtual, host *corev1.Pod) error {
	syncReadinessGate(virtual, host)
	setUnschedulable(virtual, host)
	shortenDeadlines(virtual, host)
	syncTolerations(virtual, host)
	sent := DecodeLastApplied(host.Annotations[labels.LastApplied])
	requested := digestRequests(virtual)
	debug, foreign := addDebugContainers(in, virtual, host, sent[debugGroup])
	for group, record := range map[string]LastApplied{debugGroup: debug, foreignDebugGroup: foreign} {
		if len(record) > 0 {
			requested[group] = record
		}
	}
	text, err := EncodeLastApplied(requested)
	if err != nil {
		return err
	}
	gated := len(host.Spec.SchedulingGates) > 0
	if host.Annotations[labels.LastApplied] != text {
		host.Annotations[labels.LastApplied] = text
		applyChanged(in, virtual, host, requested, sent, gated)
	}
	if gated {
		openGates(virtual, host)
	}
	return nil
}

// Keys of [labels.LastApplied] for the groups of fields that are written when the tenant's
// request changes. Within a group, each container has an entry under its name, and the pod one
// under the empty name. The keys and digests must never change, because all fields would be
// sent again after an upgrade. An image that is sent again can restart a container.
const (
	imagesGroup    = "images"
	resourcesGroup = "resources"
	nodesGroup     = "nodes"
)

// digestRequests returns the digests of the tenant's values of the fields that the host's
// admission may change.
func digestRequests(virtual *corev1.Pod) map[string]LastApplied {
	images, resources := map[string]string{}, map[string]corev1.ResourceRequirements{}
	for _, list := range [][]corev1.Container{virtual.Spec.InitContainers, virtual.Spec.Containers} {
		for i := range list {
			images[list[i].Name] = list[i].Image
			if r := list[i].Resources; len(r.Requests)+len(r.Limits) > 0 {
				resources[list[i].Name] = r
			}
		}
	}
	if virtual.Spec.Resources != nil {
		resources[""] = *virtual.Spec.Resources
	}
	requested := map[string]LastApplied{imagesGroup: DigestValues(images)}
	if len(resources) > 0 {
		requested[resourcesGroup] = DigestValues(resources)
	}
	if rules := nodeConstraints(virtual); len(rules) > 0 {
		requested[nodesGroup] = DigestValues(rules)
	}
	return requested
}

// nodeConstraints returns the node selector and node affinity of a pod, by their keys in the
// digest.
func nodeConstraints(virtual *corev1.Pod) map[string]any {
	rules := map[string]any{}
	if len(virtual.Spec.NodeSelector) > 0 {
		rules["selector"] = virtual.Spec.NodeSelector
	}
	if affinity := virtual.Spec.Affinity; affinity != nil && affinity.NodeAffinity != nil {
		rules["affinity"] = affinity.NodeAffinity
	}
	return rules
}

// applyChanged writes the fields whose digests differ from the last applied ones. Only a gated
// pod may change its node constraints.
func applyChanged(in PodInput, virtual, host *corev1.Pod, requested, sent map[string]LastApplied, gated bool) {
	changed := func(group, entry string) bool { return requested[group][entry] != sent[group][entry] }
	for _, lists := range [][2][]corev1.Container{
		{virtual.Spec.InitContainers, host.Spec.InitContainers},
		{virtual.Spec.Containers, host.Spec.Containers},
	} {
		eachPair(lists[0], lists[1], func(virtual, host *corev1.Container) {
			if changed(imagesGroup, virtual.Name) {
				host.Image = virtual.Image
				if in.TranslateImage != nil {
					host.Image = in.TranslateImage(virtual.Image)
				}
			}
			if changed(resourcesGroup, virtual.Name) {
				syncResources(&virtual.Resources, &host.Resources)
			}
		})
	}
	if changed(resourcesGroup, "") {
		syncPodResources(virtual, host)
	}
	if gated && !maps.Equal(requested[nodesGroup], sent[nodesGroup]) {
		syncNodeRules(in, virtual, host)
	}
}

// eachPair visits the containers that exist on both sides, matched by name. The host's admission
// may have inserted others.
func eachPair(virtual, host []corev1.Container, visit func(virtual, host *corev1.Container)) {
	for i := range virtual {
		j := slices.IndexFunc(host, func(c corev1.Container) bool { return c.Name == virtual[i].Name })
		if j >= 0 {
			visit(&virtual[i], &host[j])
		}
	}
}

// longestDeadline is 68 years in seconds, the longest deadline that a pod may have.
const longestDeadline = math.MaxInt32

// setQuotaScope sets the longest possible deadline on a new host pod without one. Pods with a
// deadline are in the quota scope Terminating, all others in NotTerminating. So a quota for the
// tenant's pods never prevents a restart of the control plane's pod. Existing pods are not
// changed: the quota could refuse that, and thereby all other changes of the pod.
func setQuotaScope(in PodInput, host *corev1.Pod) {
	if in.QuotaScope && host.Spec.ActiveDeadlineSeconds == nil {
		host.Spec.ActiveDeadlineSeconds = new(int64(longestDeadline))
	}
}

// shortenDeadlines copies activeDeadlineSeconds, which may only become shorter. It also copies
// terminationGracePeriodSeconds, whose only possible change is from a negative value to 1.
func shortenDeadlines(virtual, host *corev1.Pod) {
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

// syncTolerations adds the tenant's tolerations and updates their tolerationSeconds. The API does
// not allow to remove tolerations. Those that the host has added stay.
func syncTolerations(virtual, host *corev1.Pod) {
	for _, toleration := range virtual.Spec.Tolerations {
		has := func(t corev1.Toleration) bool { return equality.Semantic.DeepEqual(t, toleration) }
		if slices.ContainsFunc(host.Spec.Tolerations, has) {
			continue
		}
		earlier := slices.IndexFunc(host.Spec.Tolerations, func(t corev1.Toleration) bool { return toleratesSame(t, toleration) })
		if earlier < 0 {
			host.Spec.Tolerations = append(host.Spec.Tolerations, toleration)
			continue
		}
		host.Spec.Tolerations[earlier].TolerationSeconds = toleration.TolerationSeconds
	}
}

// toleratesSame reports whether two tolerations are equal apart from tolerationSeconds.
func toleratesSame(a, b corev1.Toleration) bool {
	a.TolerationSeconds, b.TolerationSeconds = nil, nil
	return equality.Semantic.DeepEqual(a, b)
}

// syncPodResources copies the pod-level resources.
func syncPodResources(virtual, host *corev1.Pod) {
	if virtual.Spec.Resources == nil {
		return
	}
	if host.Spec.Resources == nil {
		host.Spec.Resources = &corev1.ResourceRequirements{}
	}
	syncResources(virtual.Spec.Resources, host.Spec.Resources)
}

// syncResources copies requests and limits.
func syncResources(virtual, host *corev1.ResourceRequirements) {
	host.Limits = syncQuantities(virtual.Limits, host.Limits)
	host.Requests = syncQuantities(virtual.Requests, host.Requests)
}

// syncQuantities returns host with the tenant's quantities.
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

// equalQuantity reports whether a and b are the same amount.
func equalQuantity(a, b resource.Quantity) bool {
	return a.Cmp(b) == 0
}

// syncNodeRules updates the node selector and node affinity of a gated host pod. They can only
// become stricter.
func syncNodeRules(in PodInput, virtual, host *corev1.Pod) {
	for key, value := range virtual.Spec.NodeSelector {
		if _, ok := host.Spec.NodeSelector[key]; !ok {
			host.Spec.NodeSelector = mergeMaps(host.Spec.NodeSelector, map[string]string{key: value})
		}
	}
	wanted := wantedNodeAffinity(in.NodeSelector, virtual)
	if wanted == nil {
		return
	}
	if host.Spec.Affinity == nil {
		host.Spec.Affinity = &corev1.Affinity{}
	}
	host.Spec.Affinity.NodeAffinity = wanted
}

// wantedNodeAffinity returns the node affinity that the host pod should have, nil for none. It is
// limited to the nodes with the labels of selector.
func wantedNodeAffinity(selector map[string]string, virtual *corev1.Pod) *corev1.NodeAffinity {
	var rules corev1.PodSpec
	if virtual.Spec.Affinity != nil {
		rules.Affinity = &corev1.Affinity{NodeAffinity: virtual.Spec.Affinity.NodeAffinity.DeepCopy()}
	}
	limitToNodes(selector, virtual.Spec.NodeName, &rules)
	if rules.Affinity == nil {
		return nil
	}
	return rules.Affinity.NodeAffinity
}

// openGates removes the scheduling gates that the tenant has removed. Gates that the host has
// added stay.
func openGates(virtual, host *corev1.Pod) {
	closed := make(map[string]bool, len(virtual.Spec.SchedulingGates))
	for _, gate := range virtual.Spec.SchedulingGates {
		closed[TenantLabel(gate.Name)] = true
	}
	host.Spec.SchedulingGates = slices.DeleteFunc(host.Spec.SchedulingGates, func(gate corev1.PodSchedulingGate) bool {
		return strings.HasPrefix(gate.Name, labels.TenantPrefix) && !closed[gate.Name]
	})
}
