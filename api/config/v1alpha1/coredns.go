package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// CoreDNS has the settings of pods that run DNS instead of the control plane.
type CoreDNS struct {
	// Pods of the Deployment RELEASE-dns, which then answers instead of the control plane. It answers
	// while the control plane restarts, from what it knew before. 0 runs DNS in the control plane. 2 or
	// more keep it through the loss of a node.
	// Default: 0
	Replicas int32 `json:"replicas" min:"0" max:"20"`
	// Compute resources of the container of a DNS pod.
	Resources DNSResources `json:"resources"`
}

// DNSResources has the compute resources of a DNS pod.
type DNSResources struct {
	// Resource requests.
	// Default: {cpu: 20m, memory: 64Mi}
	Requests corev1.ResourceList `json:"requests" keys:"label-key"`
	// Resource limits. No CPU limit by default: throttling delays answers.
	// Default: {memory: 256Mi}
	Limits corev1.ResourceList `json:"limits" keys:"label-key"`
}

func defaultCoreDNS() CoreDNS {
	return CoreDNS{Resources: DNSResources{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
	}}
}
