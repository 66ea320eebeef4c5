package v1alpha1

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Combination is a rule about several keys at once. Some are about one key whose
// type allows values that are not possible. The server calls Violated; the chart has
// a condition of its own for each. Both refuse with the same words.
type Combination struct {
	// Name identifies the combination.
	Name string
	// Path is the key to change, in dots. Messages show what is set there.
	Path string
	// With are the other keys of the rule, in dots.
	With []string
	// Detail is why this is not possible, and what to do.
	Detail string
	// Violated reports whether a configuration breaks the rule.
	Violated func(*Config) bool
}

// Combinations returns all rules about several keys at once.
func Combinations() []Combination {
	return slices.Concat(nodesCombinations(), syncCombinations(), priorityCombinations(), storeCombinations(), moveCombinations(), highAvailabilityCombinations(), autoscalingCombinations(), splitCombinations(),
		controlPlaneCombinations(), podCombinations(), resourceCombinations(), policyCombinations(),
		mappingCombinations(), snapshotCombinations(), deviceCombinations(), volumeCombinations(), replicaCombinations(), dnsCombinations(), customResourceCombinations(), encryptionCombinations(),
		addressCombinations(), auditCombinations(), exportCombinations(), backupCombinations(),
		integrationCombinations(), deployCombinations())
}

// nodesSetting is the path of the settings of nodes.
const nodesSetting = "sync.fromHost.nodes"

func nodesCombinations() []Combination {
	const nodes = nodesSetting + "."
	return []Combination{
		{
			Name: "nodes-all-and-labels", Path: nodes + "selector.labels",
			With: []string{nodes + "enabled", nodes + "selector.all"},
			Detail: nodes + "selector.all is true, so every node is shown whatever its labels; " +
				"set that to false, or leave the labels out",
			Violated: func(c *Config) bool {
				n := c.Sync.FromHost.Nodes
				return c.Sync.IsEnabled(nodesSetting) && n.Selector.All && len(n.Selector.Labels) > 0
			},
		},
		{
			Name: "nodes-off-and-labels", Path: nodes + "selector.labels",
			With:   []string{nodes + "enabled"},
			Detail: nodes + "enabled is false, so no real node is shown; set that to true, or leave the labels out",
			Violated: func(c *Config) bool {
				return !c.Sync.IsEnabled(nodesSetting) && len(c.Sync.FromHost.Nodes.Selector.Labels) > 0
			},
		},
		{
			Name: "nodes-off-and-sync-back", Path: nodes + "syncBackChanges",
			With: []string{nodes + "enabled"},
			Detail: nodes + "enabled is false, so the tenant has no node of the host's to change; " +
				"set that to true, or this to false",
			Violated: func(c *Config) bool {
				return !c.Sync.IsEnabled(nodesSetting) && c.Sync.FromHost.Nodes.SyncBackChanges
			},
		},
		{
			Name: "sync-back-without-fields", Path: nodes + "syncBackFields",
			With:   []string{nodes + "syncBackChanges"},
			Detail: nodes + "syncBackChanges is true, but no field is passed on; name at least one, or set that to false",
			Violated: func(c *Config) bool {
				n := c.Sync.FromHost.Nodes
				return n.SyncBackChanges && len(n.SyncBackFields) == 0
			},
		},
		{
			Name: "sync-back-without-labels", Path: nodes + "syncBackLabels",
			With:   []string{nodes + "syncBackChanges", nodes + "syncBackFields"},
			Detail: nodes + "syncBackFields has labels, but no label may be passed on; name the keys, or leave labels out there",
			Violated: func(c *Config) bool {
				n := c.Sync.FromHost.Nodes
				return n.SyncBackChanges && slices.Contains(n.SyncBackFields, NodeLabels) && len(n.SyncBackLabels) == 0
			},
		},
		{
			Name: "sync-back-shared", Path: nodes + "syncBackChanges",
			With: []string{nodes + "enabled", nodes + "selector.labels", nodes + "syncBackSharedNodes"},
			Detail: nodes + "selector.labels is empty, so the tenant would change nodes that others use too; " +
				"select the tenant's own nodes by labels, or set " + nodes + "syncBackSharedNodes to true",
			Violated: func(c *Config) bool {
				n := c.Sync.FromHost.Nodes
				return c.Sync.IsEnabled(nodesSetting) && n.SyncBackChanges && len(n.Selector.Labels) == 0 && !n.SyncBackSharedNodes
			},
		},
	}
}

func syncCombinations() []Combination {
	const nodes = nodesSetting + "."
	return []Combination{
		{
			Name: "node-selector-and-nodes", Path: "sync.toHost.pods.nodeSelector",
			With: []string{nodes + "enabled", nodes + "selector.all", nodes + "selector.labels"},
			Detail: nodes + "selector shows nodes on which no pod could run; set " + nodes + "selector.all to false, and " +
				"put these labels into " + nodes + "selector.labels instead of here",
			Violated: func(c *Config) bool {
				n := c.Sync.FromHost.Nodes
				return len(c.Sync.ToHost.Pods.NodeSelector) > 0 && c.Sync.IsEnabled(nodesSetting) &&
					(n.Selector.All || len(n.Selector.Labels) > 0)
			},
		},
		{
			Name: "endpointslices-without-services", Path: "sync.toHost.endpointSlices.enabled",
			With: []string{"sync.toHost.services.enabled"},
			Detail: "sync.toHost.services.enabled is false, and an EndpointSlice without its Service is of no use; " +
				"set both to true or both to false",
			Violated: func(c *Config) bool {
				return c.Sync.IsEnabled("sync.toHost.endpointSlices") && !c.Sync.IsEnabled("sync.toHost.services")
			},
		},
		{
			Name: "configmaps-off-and-all", Path: "sync.toHost.configMaps.all",
			With:   []string{"sync.toHost.configMaps.enabled"},
			Detail: "sync.toHost.configMaps.enabled is false, so none are synced; set that to true, or this to false",
			Violated: func(c *Config) bool {
				return c.Sync.ToHost.ConfigMaps.All && !c.Sync.IsEnabled("sync.toHost.configMaps")
			},
		},
		{
			Name: "secrets-off-and-all", Path: "sync.toHost.secrets.all",
			With:   []string{"sync.toHost.secrets.enabled"},
			Detail: "sync.toHost.secrets.enabled is false, so none are synced; set that to true, or this to false",
			Violated: func(c *Config) bool {
				return c.Sync.ToHost.Secrets.All && !c.Sync.IsEnabled("sync.toHost.secrets")
			},
		},
	}
}

func controlPlaneCombinations() []Combination {
	const claim = "controlPlane.statefulSet.persistence.volumeClaim."
	const nodes = nodesSetting + "."
	return []Combination{
		{
			Name: "scheduler-without-nodes", Path: "controlPlane.advanced.virtualScheduler.enabled",
			With: []string{nodes + "enabled", nodes + "selector.all", nodes + "selector.labels"},
			Detail: "the virtual scheduler needs nodes to choose from; set " + nodes + "enabled to true, and either " +
				nodes + "selector.all to true or " + nodes + "selector.labels, or set this to false",
			Violated: func(c *Config) bool {
				n := c.Sync.FromHost.Nodes
				return c.ControlPlane.Advanced.VirtualScheduler.Enabled &&
					(!c.Sync.IsEnabled(nodesSetting) || !n.Selector.All && len(n.Selector.Labels) == 0)
			},
		},
		{
			Name: "class-without-claim", Path: claim + "storageClass",
			With: []string{claim + "enabled"},
			Detail: claim + "enabled is false, so there is no claim that could have a class; " +
				"set that to true, or leave the class out",
			Violated: func(c *Config) bool {
				v := c.ControlPlane.StatefulSet.Persistence.VolumeClaim
				return !v.Enabled && v.StorageClass != ""
			},
		},
		{
			Name: "no-size", Path: claim + "size",
			Detail: "must be more than nothing, such as 5Gi",
			Violated: func(c *Config) bool {
				return c.ControlPlane.StatefulSet.Persistence.VolumeClaim.Size.Sign() <= 0
			},
		},
		{
			Name: "no-access-mode", Path: claim + "accessModes",
			Detail: "a claim needs at least one mode; set [ReadWriteOnce]",
			Violated: func(c *Config) bool {
				return len(c.ControlPlane.StatefulSet.Persistence.VolumeClaim.AccessModes) == 0
			},
		},
	}
}

// resourceCombinations returns one rule for each resource that usually has a request
// and a limit.
func resourceCombinations() []Combination {
	var combinations []Combination
	for _, name := range LimitedResources() {
		for _, pod := range OwnPods() {
			combinations = append(combinations, pod.overLimit(name))
		}
	}
	return combinations
}

// overLimit returns the rule that a request is at most the limit.
func (p OwnPod) overLimit(name corev1.ResourceName) Combination {
	return Combination{
		Name: "request-over-limit-of-" + p.Name + "-" + string(name), Path: p.Path + ".requests." + string(name),
		With:   []string{p.Path + ".limits." + string(name)},
		Detail: fmt.Sprintf("is more than %s.limits.%s; lower it, or raise the limit", p.Path, name),
		Violated: func(c *Config) bool {
			r := p.of(c)
			wanted, asked := r.Requests[name]
			limit, limited := r.Limits[name]
			return asked && limited && wanted.Cmp(limit) > 0
		},
	}
}

// LimitedResources returns the resources whose requests are compared with their
// limits.
func LimitedResources() []corev1.ResourceName {
	return []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
}
