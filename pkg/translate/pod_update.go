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

// updatePod brings what may still change of a host pod up to date.
//
// Fields that can only grow or shrink in one direction are compared as they are. Host
// admission may change the others, above all images and resources. They are written only
// if the tenant's request differs from the last applied one. Its digest is on the host
// pod, under [labels.LastApplied].
func updatePod(in PodInput, virtual, host *corev1.Pod) error {
	syncReadinessGate(virtual, host)
	showNeed(virtual, host)
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

// The groups of fields that are written when the tenant's request changes, by their names
// in the digest. Each container has its own entry, the pod the empty one.
// Other names or digests after an upgrade would send everything once more, and an
// image that is sent again can restart a container.
const (
	imagesGroup    = "images"
	resourcesGroup = "resources"
	nodesGroup     = "nodes"
)

// digestRequests returns a digest of what the tenant requests among the fields that the
// host may change.
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
	if rules := nodeRules(virtual); len(rules) > 0 {
		requested[nodesGroup] = DigestValues(rules)
	}
	return requested
}

// nodeRules returns the rules of a pod about its node.
func nodeRules(virtual *corev1.Pod) map[string]any {
	rules := map[string]any{}
	if len(virtual.Spec.NodeSelector) > 0 {
		rules["selector"] = virtual.Spec.NodeSelector
	}
	if affinity := virtual.Spec.Affinity; affinity != nil && affinity.NodeAffinity != nil {
		rules["affinity"] = affinity.NodeAffinity
	}
	return rules
}

// applyChanged writes the requests that differ from the last applied ones.
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

// eachPair visits the containers that both sides have, told apart by their names:
// the host may have put others between them.
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

// setQuotaScope gives a new host pod without a deadline the longest one. A quota counts pods
// with and without a deadline apart. So one that counts those of the tenant never keeps the
// control plane's pod from a restart, whatever the tenant uses. A pod that is older than the
// quota stays outside: the quota could refuse it, and every other change of it as well.
func setQuotaScope(in PodInput, host *corev1.Pod) {
	if in.QuotaScope && host.Spec.ActiveDeadlineSeconds == nil {
		host.Spec.ActiveDeadlineSeconds = new(int64(longestDeadline))
	}
}

// shortenDeadlines copies the two deadlines of a pod. One may only come nearer. The other
// changes only from a negative value, which means at once, to the least.
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

// syncTolerations adds the tenant's tolerations. The API lets nobody remove one, but
// its seconds may change: then they change on the host, too. What the host added
// stays.
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

// toleratesSame reports whether two tolerations differ in their seconds at most.
func toleratesSame(a, b corev1.Toleration) bool {
	a.TolerationSeconds, b.TolerationSeconds = nil, nil
	return equality.Semantic.DeepEqual(a, b)
}

// syncPodResources copies the resources of the pod as a whole.
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

// syncNodeRules follows the rules about nodes, which may get stricter as long as
// the pod is gated.
func syncNodeRules(in PodInput, virtual, host *corev1.Pod) {
	for key, value := range virtual.Spec.NodeSelector {
		if _, ok := host.Spec.NodeSelector[key]; !ok {
			host.Spec.NodeSelector = mergeMaps(host.Spec.NodeSelector, map[string]string{key: value})
		}
	}
	wanted := wantedNodeAffinity(in, virtual)
	if wanted == nil {
		return
	}
	if host.Spec.Affinity == nil {
		host.Spec.Affinity = &corev1.Affinity{}
	}
	host.Spec.Affinity.NodeAffinity = wanted
}

// wantedNodeAffinity returns the node affinity of the host pod of a pod, nil for none.
func wantedNodeAffinity(in PodInput, virtual *corev1.Pod) *corev1.NodeAffinity {
	var rules corev1.PodSpec
	if virtual.Spec.Affinity != nil {
		rules.Affinity = &corev1.Affinity{NodeAffinity: virtual.Spec.Affinity.NodeAffinity.DeepCopy()}
	}
	applyNodeRules(in, virtual, &rules)
	if rules.Affinity == nil {
		return nil
	}
	return rules.Affinity.NodeAffinity
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
