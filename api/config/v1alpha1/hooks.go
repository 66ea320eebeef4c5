package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const hooksPath = "controlPlane.advanced.hooks."

// Hooks has the settings of the pods that Helm starts for a moment. One checks settings before an install or an
// upgrade, and others run at "helm test".
type Hooks struct {
	// Compute resources of their container. A ResourceQuota of the host may ask for limits that are not here.
	Resources HookResources `json:"resources"`
}

// HookResources has the compute resources of the pod of a hook.
type HookResources struct {
	// Resource requests.
	// Default: {cpu: 10m, memory: 32Mi}
	Requests corev1.ResourceList `json:"requests" keys:"label-key"`
	// Resource limits.
	// Default: {memory: 256Mi}
	Limits corev1.ResourceList `json:"limits" keys:"label-key"`
}

func defaultHooks() Hooks {
	return Hooks{Resources: HookResources{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
	}}
}
