package translate

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The recommended labels of Kubernetes. The release finds its own pods by them.
const (
	recommendedPrefix = "app.kubernetes.io/"
	instanceLabel     = recommendedPrefix + "instance"
)

// syncPodMetadata updates the labels and annotations of the host pod. Labels and annotations that
// pass keep their keys. All labels are also set under their host keys, see [isTopologyNeeded] for
// the exception. Other annotations are only set if the pod reads them through the downward API. Those of
// [autoscalerAnnotations] are added.
func syncPodMetadata(in PodInput, virtual, host *corev1.Pod) {
	own := make(map[string]string, len(virtual.Labels))
	for key, value := range virtual.Labels {
		if !isTopologyLabel(key) || isTopologyNeeded(in, host, key) {
			own[key] = value
		}
	}
	kept := maps.Clone(host.Labels)
	maps.DeleteFunc(kept, func(key, value string) bool {
		// A label that passed has a twin under its host key. All others are the host's.
		twin, ok := host.Labels[TenantLabel(key)]
		return ok && twin == value && !isTopologyLabel(key)
	})
	host.Labels = SyncLabels(kept, own)
	for key, value := range own {
		if _, ok := kept[key]; !ok && passesLabel(in, virtual.Labels, key) {
			host.Labels[key] = value
		}
	}
	passes := func(key string) bool { return in.PassesAnnotation != nil && in.PassesAnnotation(key) }
	annotations, ours := virtual.Annotations, autoscalerAnnotations(virtual, host, passes)
	if len(ours) > 0 {
		annotations = mergeMaps(annotations, ours)
	}
	host.Annotations = SyncAnnotations(syncDownward(host.Annotations, virtual), annotations, func(key, _ string) bool {
		_, generated := ours[key]
		return generated || passes(key)
	})
}

// passesLabel reports whether a label of a pod keeps its key on the host. With the instance label
// of the release, a pod would be selected by the Services, network policies and StatefulSet of
// the control plane.
func passesLabel(in PodInput, all map[string]string, key string) bool {
	switch {
	case in.PassesLabel == nil, IsOurs(key), isTopologyLabel(key), !in.PassesLabel(key):
		return false
	case strings.HasPrefix(key, recommendedPrefix):
		return all[instanceLabel] != in.Cluster.Name
	default:
		return true
	}
}

// ReadByHosts returns the sorted keys of annotations that components of hosts usually read but that
// do not pass, so that they have no effect.
func ReadByHosts(virtual *corev1.Pod, passes func(key string) bool) []string {
	var left []string
	for key := range virtual.Annotations {
		if isReadByHosts(key) && !passes(key) {
			left = append(left, key)
		}
	}
	slices.Sort(left)
	return left
}

// isReadByHosts reports whether autoscalers, network plugins or monitoring of hosts usually read an
// annotation. It ignores annotations for add-ons that tenants run themselves.
func isReadByHosts(key string) bool {
	switch key {
	case "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth":
		return true
	}
	for _, prefix := range []string{"cluster-autoscaler.kubernetes.io/", "karpenter.sh/", "k8s.v1.cni.cncf.io/", "cni.projectcalico.org/", "prometheus.io/"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}
