package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const limitRangePath = "policies.limitRange."

// LimitRange has the requests and limits of containers that do not set their own.
type LimitRange struct {
	// Whether the chart creates a LimitRange in the namespace of the release. auto is on with
	// resourceQuota: a quota on requests or limits refuses each pod without them.
	// Default: auto
	Enabled Switch `json:"enabled"`
	// Limits of a container that sets none. Unlike in vCluster, none by default. cpu holds for the control plane, DNS pods
	// and hooks too, unless their own resources have a limit of it.
	// Default: {}
	Default corev1.ResourceList `json:"default" keys:"label-key"`
	// Requests of a container that sets none. vCluster has cpu 100m, memory 128Mi and 3Gi of storage.
	// Default: {cpu: 10m, memory: 16Mi}
	DefaultRequest corev1.ResourceList `json:"defaultRequest" keys:"label-key"`
	// Least requests of a container. A pod that asks for less is refused. It holds for the control plane,
	// DNS pods and hooks too.
	// Default: {}
	Min corev1.ResourceList `json:"min" keys:"label-key"`
	// Greatest limits of a container. A pod that asks for more is refused. It holds for the control plane,
	// DNS pods and hooks too.
	// Default: {}
	Max corev1.ResourceList `json:"max" keys:"label-key"`
	// Further labels of the LimitRange.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// Further annotations of the LimitRange.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
}

// HasLimitRange reports whether the chart creates a LimitRange.
func (p Policies) HasLimitRange() bool {
	return p.LimitRange.Enabled == SwitchOn || p.LimitRange.Enabled == SwitchAuto && p.HasResourceQuota()
}

func defaultLimitRange() LimitRange {
	return LimitRange{
		Enabled: SwitchAuto,
		Default: corev1.ResourceList{},
		DefaultRequest: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("10m"),
			corev1.ResourceMemory: resource.MustParse("16Mi"),
		},
		Min: corev1.ResourceList{}, Max: corev1.ResourceList{},
		Labels: map[string]string{}, Annotations: map[string]string{},
	}
}

// OwnPod is a sort of pods of the release whose resources are settings.
type OwnPod struct {
	// Name identifies it in names of rules.
	Name string
	// Path is the setting of its resources.
	Path string
	// Noun is how messages name it.
	Noun string
	// exists reports whether the release has such pods. nil means always.
	exists func(*Config) bool
	// of returns its resources.
	of func(*Config) Resources
}

// OwnPods returns all sorts of pods of the release whose resources are settings. A LimitRange holds for them too.
func OwnPods() []OwnPod {
	return []OwnPod{
		{
			Name: "control-plane", Path: "controlPlane.statefulSet.resources", Noun: "the control plane",
			of: func(c *Config) Resources { return c.ControlPlane.StatefulSet.Resources },
		},
		{
			Name: "dns", Path: "controlPlane.coredns.resources", Noun: "DNS",
			exists: func(c *Config) bool { return c.ControlPlane.CoreDNS.Replicas > 0 },
			of:     func(c *Config) Resources { return Resources(c.ControlPlane.CoreDNS.Resources) },
		},
		{
			Name: "hooks", Path: hooksPath + "resources", Noun: "the pod of a hook",
			of: func(c *Config) Resources { return Resources(c.ControlPlane.Advanced.Hooks.Resources) },
		},
	}
}

// LimitRangeOrder returns the pairs of keys of a LimitRange of which the first must not have more than the second.
func LimitRangeOrder() [][2]string {
	return [][2]string{
		{"min", "defaultRequest"}, {"min", "default"}, {"min", "max"},
		{"defaultRequest", "default"}, {"defaultRequest", "max"}, {"default", "max"},
	}
}

// limitRangeCombinations returns the rules about the limit range. The pods of the release must fit, or they could not
// start again.
func limitRangeCombinations() []Combination {
	var combinations []Combination
	for _, pod := range OwnPods() {
		combinations = append(combinations, pod.overMax(), pod.underMin(), pod.overDefault())
	}
	for _, pair := range LimitRangeOrder() {
		combinations = append(combinations, Combination{
			Name: "limit-range-" + pair[0] + "-over-" + pair[1], Path: limitRangePath + pair[0],
			With:   []string{limitRangePath + pair[1], limitRangePath + "enabled"},
			Detail: "is more than " + limitRangePath + pair[1] + ", and no host accepts such a LimitRange; lower it, or raise that",
			Violated: func(c *Config) bool {
				return c.Policies.HasLimitRange() && exceeds(c.Policies.LimitRange.list(pair[0]), c.Policies.LimitRange.list(pair[1]))
			},
		})
	}
	return combinations
}

// list returns the amounts of a key.
func (l *LimitRange) list(key string) corev1.ResourceList {
	return map[string]corev1.ResourceList{"min": l.Min, "defaultRequest": l.DefaultRequest, "default": l.Default, "max": l.Max}[key]
}

// overMax returns the rule that pods take no more than the limit range allows.
func (p OwnPod) overMax() Combination {
	return p.rule("max", "is less than "+p.Path+", so "+p.Noun+" could not start; raise it, or lower that", func(c *Config) bool {
		own, most := p.of(c), c.Policies.LimitRange.Max
		return exceeds(own.Requests, most) || exceeds(own.Limits, most)
	})
}

// underMin returns the rule that pods ask for no less than the limit range allows.
func (p OwnPod) underMin() Combination {
	return p.rule("min", "is more than "+p.Path+", so "+p.Noun+" could not start; lower it, or raise that", func(c *Config) bool {
		own, least := p.of(c), c.Policies.LimitRange.Min
		return exceeds(least, own.Requests) || exceeds(least, own.Limits)
	})
}

// overDefault returns the rule that pods without a limit do not request more than the limit that they get.
func (p OwnPod) overDefault() Combination {
	return p.rule("default", "is less than "+p.Path+".requests, so "+p.Noun+" could not start; raise it, or set "+p.Path+".limits", func(c *Config) bool {
		own, given := p.of(c), corev1.ResourceList{}
		for name, amount := range c.Policies.LimitRange.Default {
			if _, limited := own.Limits[name]; !limited {
				given[name] = amount
			}
		}
		return exceeds(own.Requests, given)
	})
}

// rule returns a rule about a key of the limit range, for a release that has both.
func (p OwnPod) rule(key, detail string, violated func(*Config) bool) Combination {
	return Combination{
		Name: "limit-range-" + key + "-of-" + p.Name, Path: limitRangePath + key,
		With:   []string{p.Path + ".requests", p.Path + ".limits", limitRangePath + "enabled"},
		Detail: detail,
		Violated: func(c *Config) bool {
			return c.Policies.HasLimitRange() && (p.exists == nil || p.exists(c)) && violated(c)
		},
	}
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
