package v1alpha1

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// ResourceQuota bounds what all objects of the tenant together take of the host.
type ResourceQuota struct {
	// Whether the chart creates ResourceQuotas in the namespace of the release. auto is on, unlike in
	// vCluster, where it depends on limitRange.enabled.
	// Default: auto
	Enabled Switch `json:"enabled"`
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

// HasResourceQuota reports whether the chart creates ResourceQuotas.
func (p Policies) HasResourceQuota() bool { return p.ResourceQuota.Enabled != SwitchOff }

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
		Enabled: SwitchAuto, Quota: quota,
		Scopes: []corev1.ResourceQuotaScope{}, Labels: map[string]string{}, Annotations: map[string]string{},
	}
}

// quotaCombinations returns the rules about the quota.
func quotaCombinations() []Combination {
	const scopes = "policies.resourceQuota.scopes"
	return []Combination{{
		Name: "quota-best-effort-twice", Path: scopes, With: []string{"policies.resourceQuota.enabled"},
		Detail: "no pod is in the scopes BestEffort and NotBestEffort, and the host refuses both together; leave one of them out",
		Violated: func(c *Config) bool {
			return c.Policies.HasResourceQuota() && c.Policies.ResourceQuota.hasScopes(corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort)
		},
	}, {
		Name: "quota-best-effort-computes", Path: scopes,
		With: []string{"policies.resourceQuota.enabled", "policies.resourceQuota.quota"},
		Detail: "the host accepts the scope BestEffort with the number of pods alone; leave the scope out, or take cpu, memory, " +
			"and their requests and limits out of policies.resourceQuota.quota with null",
		Violated: func(c *Config) bool {
			return c.Policies.HasResourceQuota() && c.Policies.ResourceQuota.hasScopes(corev1.ResourceQuotaScopeBestEffort) && c.Policies.ResourceQuota.hasComputeKeys()
		},
	}, {
		Name: "quota-without-defaults", Path: "policies.limitRange.enabled",
		With: []string{"policies.resourceQuota.enabled", "policies.resourceQuota.quota"},
		Detail: "policies.resourceQuota has requests or limits, which refuse each pod without them; " +
			"set this to auto, or take these keys out of the quota with null",
		Violated: func(c *Config) bool {
			return c.Policies.HasResourceQuota() && !c.Policies.HasLimitRange() && c.Policies.ResourceQuota.needsDefaults()
		},
	}}
}

// hasScopes reports whether the quota has all of these scopes.
func (q ResourceQuota) hasScopes(scopes ...corev1.ResourceQuotaScope) bool {
	return !slices.ContainsFunc(scopes, func(scope corev1.ResourceQuotaScope) bool { return !slices.Contains(q.Scopes, scope) })
}

// hasComputeKeys reports whether the quota counts more of pods than their number.
func (q ResourceQuota) hasComputeKeys() bool {
	for _, name := range []corev1.ResourceName{"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"} {
		if _, found := q.Quota[name]; found {
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
