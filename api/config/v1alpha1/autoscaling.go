package v1alpha1

import corev1 "k8s.io/api/core/v1"

// autoscalingPath is the path of the settings of autoscaling.
const autoscalingPath = "controlPlane.statefulSet.autoscaling."

// Autoscaling has the settings of a number of replicas that follows the load.
type Autoscaling struct {
	// Let the load decide how many replicas there are. highAvailability.replicas has no effect then.
	// Needs the store etcd.external or database.external.
	// Default: false
	Enabled bool `json:"enabled"`
	// Least number of replicas.
	// Default: 1
	MinReplicas int32 `json:"minReplicas" min:"1" max:"99"`
	// Largest number of replicas.
	// Default: 3
	MaxReplicas int32 `json:"maxReplicas" min:"1" max:"99"`
	// CPU usage to hold, in percent of resources.requests.cpu. 0 means that CPU does not count. The
	// chart renders a HorizontalPodAutoscaler, for which the host needs metrics-server.
	// Default: 0
	TargetCPUUtilizationPercentage int32 `json:"targetCPUUtilizationPercentage" min:"0" max:"10000"`
	// Memory usage to hold, in percent of resources.requests.memory. 0 means that memory does not
	// count. Another replica relieves the others of connections only, so CPU is the better target.
	// Default: 0
	TargetMemoryUtilizationPercentage int32 `json:"targetMemoryUtilizationPercentage" min:"0" max:"10000"`
	// API requests per second and replica to hold. 0 means that requests do not count. The leader
	// counts and scales without a HorizontalPodAutoscaler (needs patch on statefulsets/scale).
	// Watches and other long-running requests do not count.
	// Default: 0
	TargetRequestsPerSecond int32 `json:"targetRequestsPerSecond" min:"0" max:"1000000"`
	// How fast the number of replicas follows the load.
	Behavior AutoscalingBehavior `json:"behavior"`
}

// AutoscalingBehavior bounds how fast the number of replicas follows the load.
type AutoscalingBehavior struct {
	// Bounds of growth.
	ScaleUp ScalingRules `json:"scaleUp"`
	// Bounds of shrinking.
	ScaleDown ScalingRules `json:"scaleDown"`
}

// ScalingRules bounds changes in one direction.
type ScalingRules struct {
	// How long the load must ask for a change, in seconds. 0 means no delay.
	// Default: scaleUp 0, scaleDown 300
	StabilizationWindowSeconds int32 `json:"stabilizationWindowSeconds" min:"0" max:"3600"`
}

// CountsRequests reports whether requests per second decide the number of replicas.
func (a Autoscaling) CountsRequests() bool { return a.Enabled && a.TargetRequestsPerSecond > 0 }

// usesHorizontalPodAutoscaler reports whether there is a target for a HorizontalPodAutoscaler.
func (a Autoscaling) usesHorizontalPodAutoscaler() bool {
	return a.TargetCPUUtilizationPercentage > 0 || a.TargetMemoryUtilizationPercentage > 0
}

// MaxReplicas returns the largest number of replicas that the settings allow.
func (s StatefulSet) MaxReplicas() int {
	if s.Autoscaling.Enabled {
		return int(s.Autoscaling.MaxReplicas)
	}
	return s.HighAvailability.Count()
}

func defaultAutoscaling() Autoscaling {
	return Autoscaling{
		MinReplicas: 1, MaxReplicas: 3,
		Behavior: AutoscalingBehavior{ScaleDown: ScalingRules{StabilizationWindowSeconds: 300}},
	}
}

// autoscalingCombinations returns the rules about autoscaling.
func autoscalingCombinations() []Combination {
	const requests = autoscalingPath + "targetRequestsPerSecond"
	return append([]Combination{
		{
			Name: "autoscaling-of-own-store", Path: autoscalingPath + "enabled",
			Detail: "each replica of " + string(StoreEmbeddedEtcd) + " is a member with a vote, and " + string(StoreSQLite) +
				" has one replica; use " + string(StoreExternalEtcd) + " or " + string(StoreDatabase) + ", or set this to false",
			Violated: func(c *Config) bool {
				return c.ControlPlane.StatefulSet.Autoscaling.Enabled && !c.ControlPlane.BackingStore.IsShared()
			},
		},
		{
			Name: "autoscaling-min-over-max", Path: autoscalingPath + "minReplicas",
			With:   []string{autoscalingPath + "enabled", autoscalingPath + "maxReplicas"},
			Detail: "is more than " + autoscalingPath + "maxReplicas; lower this, or raise that",
			Violated: func(c *Config) bool {
				a := c.ControlPlane.StatefulSet.Autoscaling
				return a.Enabled && a.MinReplicas > a.MaxReplicas
			},
		},
		{
			Name: "autoscaling-without-target", Path: autoscalingPath + "enabled",
			Detail: "no target is set; set targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage or " +
				"targetRequestsPerSecond next to this, or set this to false",
			Violated: func(c *Config) bool {
				a := c.ControlPlane.StatefulSet.Autoscaling
				return a.Enabled && !a.CountsRequests() && !a.usesHorizontalPodAutoscaler()
			},
		},
		{
			Name: "autoscaling-twice", Path: requests,
			With: []string{autoscalingPath + "enabled", autoscalingPath + "targetCPUUtilizationPercentage", autoscalingPath + "targetMemoryUtilizationPercentage"},
			Detail: "a target of CPU or memory is set too, so the leader and a HorizontalPodAutoscaler would both scale; " +
				"set this to 0, or those",
			Violated: func(c *Config) bool {
				a := c.ControlPlane.StatefulSet.Autoscaling
				return a.CountsRequests() && a.usesHorizontalPodAutoscaler()
			},
		},
	}, utilizationCombinations()...)
}

// utilizationCombinations returns a rule for each target that is a percentage of a request.
func utilizationCombinations() []Combination {
	var combinations []Combination
	for _, target := range []struct {
		setting  string
		resource corev1.ResourceName
		of       func(Autoscaling) int32
	}{
		{"targetCPUUtilizationPercentage", corev1.ResourceCPU, func(a Autoscaling) int32 { return a.TargetCPUUtilizationPercentage }},
		{"targetMemoryUtilizationPercentage", corev1.ResourceMemory, func(a Autoscaling) int32 { return a.TargetMemoryUtilizationPercentage }},
	} {
		request := "controlPlane.statefulSet.resources.requests." + string(target.resource)
		combinations = append(combinations, Combination{
			Name: "autoscaling-without-request-" + string(target.resource), Path: autoscalingPath + target.setting,
			With:   []string{autoscalingPath + "enabled", request},
			Detail: "is a percentage of " + request + ", which is neither set nor has a limit; set that, or this to 0",
			Violated: func(c *Config) bool {
				set := c.ControlPlane.StatefulSet
				requested, ok := set.Resources.Requests[target.resource]
				if !ok {
					requested = set.Resources.Limits[target.resource] // Kubernetes' default
				}
				return set.Autoscaling.Enabled && target.of(set.Autoscaling) > 0 && requested.Sign() <= 0
			},
		})
	}
	return combinations
}
