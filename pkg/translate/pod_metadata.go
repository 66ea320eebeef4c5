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

// syncPodMetadata brings labels and annotations of the host pod up to date. Those of the
// tenant that pass keep their keys. Of the other annotations only those arrive that the pod
// itself reads.
func syncPodMetadata(in PodInput, virtual, host *corev1.Pod) {
	own := make(map[string]string, len(virtual.Labels))
	for key, value := range virtual.Labels {
		if !isNodeTopology(key) {
			own[key] = value
		}
	}
	kept := maps.Clone(host.Labels)
	maps.DeleteFunc(kept, func(key, value string) bool {
		// A label of the tenant has a twin under its host key. Others are the host's.
		twin, ok := host.Labels[TenantLabel(key)]
		return ok && twin == value
	})
	host.Labels = SyncLabels(kept, own)
	for key, value := range own {
		if _, ok := kept[key]; !ok && passesLabel(in, virtual.Labels, key) {
			host.Labels[key] = value
		}
	}
	passes := func(key, _ string) bool { return in.PassesAnnotation != nil && in.PassesAnnotation(key) }
	host.Annotations = SyncAnnotations(syncDownward(host.Annotations, virtual), virtual.Annotations, passes)
}

// passesLabel reports whether a label of a pod keeps its key on the host. A pod with the
// instance of the release would be selected by the Services, the network policies and the
// StatefulSet of the control plane.
func passesLabel(in PodInput, all map[string]string, key string) bool {
	switch {
	case in.PassesLabel == nil, IsOurs(key), !in.PassesLabel(key):
		return false
	case strings.HasPrefix(key, recommendedPrefix):
		return all[instanceLabel] != in.Cluster.Name
	default:
		return true
	}
}

// ReadByHosts returns the annotations of a pod that components of a host usually read, and
// that do not pass. They are sorted.
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

// isReadByHosts reports whether autoscalers, networks or monitoring of a host usually read an
// annotation. What add-ons inside a virtual cluster read is not among them.
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
