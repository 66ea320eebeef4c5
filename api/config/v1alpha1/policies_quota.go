package v1alpha1

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// ResourceQuota bounds what all objects of the tenant together take of the host.
type ResourceQuota struct {
	// Whether the chart creates ResourceQuotas in the namespace of the release. auto is on, unlike in
	// vCluster, where it depends on limitRange.enabled.
	// Default: auto
	Enabled Toggle `json:"enabled"`
	// Hard limits. pods, cpu, memory and their requests and limits count the tenant's pods alone. The
	// control plane itself counts count/pods, finished pods among them. All other keys count the objects
	// of the release too. Unlike vCluster, there are no limits.* by default:
	// with them each container gets a limit, at which ordinary software ends. null removes a key.
	// Default: {count/configmaps: "1200", count/persistentvolumeclaims: "100", count/secrets: "2600", count/services: "500", pods: "1200", requests.cpu: "100", requests.memory: 200Gi, requests.storage: 500Gi, services.loadbalancers: "2", services.nodeports: "10"}
	Quota corev1.ResourceList `json:"quota" keys:"label-key"`
	// Further limit the quota of pods to those that match. The keys are those of a ResourceQuota.
	// Default: {}
	ScopeSelector corev1.ScopeSelector `json:"scopeSelector"`
	// Further scopes of the quota of pods. Terminating is in use already: it leaves the pod of the
	// control plane out, so that no tenant can keep it from a restart.
	// Default: []
	Scopes []corev1.ResourceQuotaScope `json:"scopes" enum:"BestEffort,NotBestEffort,PriorityClass,CrossNamespacePodAffinity" unique:"true"`
	// Further labels of the ResourceQuotas.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// Further annotations of the ResourceQuotas.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
}

// LimitRange has the requests and limits of containers that do not set their own.
type LimitRange struct {
	// Whether the chart creates a LimitRange in the namespace of the release. auto is on with
	// resourceQuota: a quota on requests or limits refuses each pod without them.
	// Default: auto
	Enabled Toggle `json:"enabled"`
	// Limits of a container that sets none. Unlike in vCluster, none by default.
	// Default: {}
	Default corev1.ResourceList `json:"default" keys:"label-key"`
	// Requests of a container that sets none. vCluster has cpu 100m, memory 128Mi and 3Gi of storage.
	// Default: {cpu: 10m, memory: 16Mi}
	DefaultRequest corev1.ResourceList `json:"defaultRequest" keys:"label-key"`
	// Least requests of a container. A pod that asks for less is refused. It holds for the control plane
	// too.
	// Default: {}
	Min corev1.ResourceList `json:"min" keys:"label-key"`
	// Greatest limits of a container. A pod that asks for more is refused. It holds for the control plane
	// too.
	// Default: {}
	Max corev1.ResourceList `json:"max" keys:"label-key"`
	// Further labels of the LimitRange.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// Further annotations of the LimitRange.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
}

// HasResourceQuota reports whether the chart creates ResourceQuotas.
func (p Policies) HasResourceQuota() bool { return p.ResourceQuota.Enabled != ToggleOff }

// HasLimitRange reports whether the chart creates a LimitRange.
func (p Policies) HasLimitRange() bool {
	return p.LimitRange.Enabled == ToggleOn || p.LimitRange.Enabled == ToggleAuto && p.HasResourceQuota()
}

func defaultResourceQuota() ResourceQuota {
	quota := corev1.ResourceList{}
	for key, value := range map[corev1.ResourceName]string{
		"pods":                         "1200",
		"requests.cpu":                 "100",
		"requests.memory":              "200Gi",
		"requests.storage":             "500Gi",
		"services.nodeports":           "10",
		"services.loadbalancers":       "2",
		"count/services":               "500",
		"count/configmaps":             "1200",
		"count/secrets":                "2600",
		"count/persistentvolumeclaims": "100",
	} {
		quota[key] = resource.MustParse(value)
	}
	return ResourceQuota{
		Enabled: ToggleAuto, Quota: quota,
		Scopes: []corev1.ResourceQuotaScope{}, Labels: map[string]string{}, Annotations: map[string]string{},
	}
}

func defaultLimitRange() LimitRange {
	return LimitRange{
		Enabled: ToggleAuto,
		Default: corev1.ResourceList{},
		DefaultRequest: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("10m"),
			corev1.ResourceMemory: resource.MustParse("16Mi"),
		},
		Min: corev1.ResourceList{}, Max: corev1.ResourceList{},
		Labels: map[string]string{}, Annotations: map[string]string{},
	}
}

// quotaCombinations returns the rules about the quota, the limit range and the control
// plane. Its own pod must fit, or it could not start again.
func quotaCombinations() []Combination {
	const resources = "controlPlane.statefulSet.resources"
	return []Combination{{
		Name: "quota-without-defaults", Path: "policies.limitRange.enabled",
		With: []string{"policies.resourceQuota.enabled", "policies.resourceQuota.quota"},
		Detail: "policies.resourceQuota has requests or limits, which refuse each pod without them; " +
			"set this to auto, or take these keys out of the quota with null",
		Violated: func(c *Config) bool {
			return c.Policies.HasResourceQuota() && !c.Policies.HasLimitRange() && c.Policies.ResourceQuota.needsDefaults()
		},
	}, {
		Name: "limit-range-under-control-plane", Path: "policies.limitRange.max",
		With:   []string{resources + ".requests", resources + ".limits"},
		Detail: "is less than " + resources + ", so the control plane could not start; raise it",
		Violated: func(c *Config) bool {
			own := c.ControlPlane.StatefulSet.Resources
			return exceeds(own.Requests, c.Policies.LimitRange.Max) || exceeds(own.Limits, c.Policies.LimitRange.Max)
		},
	}}
}

// exceeds reports whether any of the limited resources is more than allowed.
func exceeds(amounts, allowed corev1.ResourceList) bool {
	for _, name := range LimitedResources() {
		greatest, bounded := allowed[name]
		amount, asked := amounts[name]
		if bounded && asked && amount.Cmp(greatest) > 0 {
			return true
		}
	}
	return false
}

// needsDefaults reports whether the quota refuses a pod without requests or limits.
func (q ResourceQuota) needsDefaults() bool {
	for name := range q.Quota {
		key := string(name)
		if key == "cpu" || key == "memory" || strings.HasPrefix(key, "limits.") ||
			key == "requests.cpu" || key == "requests.memory" || key == "requests.ephemeral-storage" {
			return true
		}
	}
	return false
}
