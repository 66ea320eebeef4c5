package nodes

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// isShown reports whether the settings show a field that is hidden by default.
func isShown(settings v1alpha1.Nodes, field v1alpha1.ShownField) bool {
	return slices.Contains(settings.ShowFields, field)
}

// trim drops what a tenant does not see, so that no cache holds it.
func trim(host *corev1.Node, settings v1alpha1.Nodes) {
	host.Annotations = visibleAnnotations(host.Annotations, settings)
	visible := visibleSpec(host, settings)
	host.Spec.PodCIDR, host.Spec.PodCIDRs, host.Spec.ProviderID = visible.PodCIDR, visible.PodCIDRs, visible.ProviderID
	host.Status = visibleStatus(host, settings)
}

// visibleHost returns a host node with the annotations and taints that the tenant sees.
func (o Options) visibleHost(host *corev1.Node) *corev1.Node {
	visible := *host
	visible.Annotations = visibleAnnotations(host.Annotations, o.Nodes)
	visible.Spec.Taints = visibleTaints(host.Spec.Taints, o.Tolerations)
	return &visible
}

// visibleAnnotations returns the annotations of a host node that the settings name. It
// never returns those that only the host's object is for.
func visibleAnnotations(host map[string]string, settings v1alpha1.Nodes) map[string]string {
	visible := map[string]string{}
	for key, value := range translate.PassAnnotations(host) {
		if slices.ContainsFunc(settings.Annotations, func(pattern string) bool { return policy.MatchesKey(pattern, key) }) {
			visible[key] = value
		}
	}
	return visible
}

// visibleSpec returns the fields of a host node's spec that identify it outside of the
// cluster, without those that the settings hide. No component of a virtual cluster reads one.
func visibleSpec(host *corev1.Node, settings v1alpha1.Nodes) corev1.NodeSpec {
	var visible corev1.NodeSpec
	if isShown(settings, v1alpha1.ShowPodCIDRs) {
		visible.PodCIDR, visible.PodCIDRs = host.Spec.PodCIDR, host.Spec.PodCIDRs
	}
	if isShown(settings, v1alpha1.ShowProviderID) {
		visible.ProviderID = host.Spec.ProviderID
	}
	return visible
}

// visibleStatus returns the part of a host node's status that a tenant may see. It
// leaves out what identifies the machine, and attached volumes: they are other
// tenants' too.
func visibleStatus(host *corev1.Node, settings v1alpha1.Nodes) corev1.NodeStatus {
	status := host.Status
	if settings.ClearImageStatus {
		status.Images = nil
	}
	if !isShown(settings, v1alpha1.ShowExternalAddresses) {
		// The list belongs to the host's node.
		status.Addresses = slices.DeleteFunc(slices.Clone(status.Addresses), isExternal)
	}
	status.VolumesInUse, status.VolumesAttached, status.Config = nil, nil, nil
	status.NodeInfo.MachineID, status.NodeInfo.SystemUUID, status.NodeInfo.BootID = "", "", ""
	return status
}

// isExternal reports whether an address leads to the node from outside of its network.
func isExternal(address corev1.NodeAddress) bool {
	return address.Type == corev1.NodeExternalIP || address.Type == corev1.NodeExternalDNS
}
