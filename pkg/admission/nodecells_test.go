package admission

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sublet-dev/sublet/api/labels"
)

// cell is one thing that a tenant does, under one setting.
type cell struct {
	reason string
	// settings: default, scheduler, back (syncBackChanges), both, or labels back
	// (scheduler, and syncBackFields: labels).
	settings    string
	do          func(*corev1.Node)
	subresource string
	// refused are words of the refusal; none means that it passes.
	refused []string
	// host is what the host's node becomes; nil means that nobody asks it.
	host func(*corev1.Node)
	// next is what the tenant's node is once the syncer has looked; nil means that
	// it is as the tenant left it.
	next func(*corev1.Node)
}

func label(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Labels[key] = value }
}

func unlabel(key string) func(*corev1.Node) { return func(n *corev1.Node) { delete(n.Labels, key) } }

func cordon(n *corev1.Node) { n.Spec.Unschedulable = true }

func uncordon(n *corev1.Node) { n.Spec.Unschedulable = false }

func taint(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		untaint(key)(n)
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffectNoSchedule})
	}
}

func taintWith(effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "mine", Value: "x", Effect: effect})
	}
}

func untaint(key string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == key })
	}
}

func capacity(name corev1.ResourceName, amount string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.Capacity[name] = resource.MustParse(amount) }
}

// The settings that a denial names.
const (
	schedulerSetting      = "controlPlane.advanced.virtualScheduler.enabled"
	syncBackSetting       = "sync.fromHost.nodes.syncBackChanges"
	syncBackFieldsSetting = "sync.fromHost.nodes.syncBackFields"
)

// bothSettings returns the words that lead a tenant to what the operator can do.
func bothSettings() []string { return []string{schedulerSetting, syncBackSetting} }

func cordonCells() map[string]cell {
	return map[string]cell{
		"cordon": {reason: "the host would not use it", settings: "default", do: cordon, refused: append(bothSettings(), "cordon is not available")},
		"uncordon": {
			reason: "the host's cordon is the host's", settings: "default on a cordoned host", do: uncordon,
			refused: []string{"the host has cordoned this node", syncBackSetting},
		},
		"scheduler: cordon":   {reason: "the tenant's scheduler uses it", settings: "scheduler", do: cordon},
		"scheduler: uncordon": {reason: "what a tenant did they undo", settings: "scheduler on a cordoned tenant", do: uncordon},
		"scheduler: uncordon the host's": {
			reason: "only the host can", settings: "scheduler on a cordoned host", do: uncordon,
			refused: []string{"the host has cordoned this node"},
		},
		"back: cordon":   {reason: "it goes to the host", settings: "back", do: cordon, host: cordon},
		"back: uncordon": {reason: "it goes to the host", settings: "back on a cordoned host", do: uncordon, host: uncordon},
		"both: cordon":   {reason: "with both settings changes go to the host", settings: "both", do: cordon, host: cordon},
		"both: uncordon one's own": {
			reason: "a cordon from before syncBackChanges is no business of the host", settings: "both on a cordoned tenant", do: uncordon,
		},
		"labels back: cordon": {reason: "a field that is not passed on stays with the tenant", settings: "labels back", do: cordon},
		"only labels back: cordon": {
			reason: "without a scheduler there is nobody to use it", settings: "only labels back", do: cordon,
			refused: []string{syncBackFieldsSetting, schedulerSetting, syncBackSetting},
		},
	}
}

func taintCells() map[string]cell {
	return map[string]cell{
		"taint":             {reason: "the host would not use it", settings: "default", do: taint("mine", "x"), refused: append(bothSettings(), "mine:NoSchedule")},
		"untaint":           {reason: "likewise", settings: "default", do: untaint("hosts"), refused: append(bothSettings(), "hosts:NoSchedule")},
		"scheduler: taint":  {reason: "beside the host's", settings: "scheduler", do: taint("mine", "x")},
		"scheduler: retake": {reason: "a host taint stays as it is", settings: "scheduler", do: taint("hosts", "other"), refused: []string{"hosts:NoSchedule is the host's"}},
		"scheduler: untaint the host's": {
			reason: "a host taint stays", settings: "scheduler", do: untaint("hosts"), refused: []string{"hosts:NoSchedule is the host's"},
		},
		"scheduler: condition": {
			reason: "those tell the state of the real node", settings: "scheduler", do: taint("node.kubernetes.io/not-ready", ""),
			refused: []string{"node.kubernetes.io"},
		},
		"back: taint":   {reason: "it goes to the host", settings: "back", do: taint("mine", "x"), host: taint("mine", "x")},
		"back: untaint": {reason: "it goes to the host", settings: "back", do: untaint("hosts"), host: untaint("hosts")},
		"back: retaint": {reason: "never twice", settings: "back", do: taint("hosts", "other"), host: taint("hosts", "other")},
		"back: protected": {
			reason: "the host's components go by it", settings: "back", do: untaint("node-role.kubernetes.io/control-plane"),
			refused: []string{"node-role.kubernetes.io/control-plane:NoSchedule", "nothing under"},
		},
		"back: enforced": {
			reason: "each pod tolerates it", settings: "back", do: taint("enforced", "x"),
			refused: []string{"enforced:NoSchedule", "sync.toHost.pods.enforceTolerations"},
		},
		"back: evict": {
			reason: "it would evict the pods of everybody", settings: "back", do: taintWith(corev1.TaintEffectNoExecute),
			refused: []string{"mine:NoExecute", "sync.fromHost.nodes.syncBackTaintEffects"},
		},
		"both: evict": {
			reason: "kept in the virtual cluster it would differ from all other taints", settings: "both", do: taintWith(corev1.TaintEffectNoExecute),
			refused: []string{"mine:NoExecute", "sync.fromHost.nodes.syncBackTaintEffects"},
		},
		"back: prefer":          {reason: "it evicts nobody", settings: "back", do: taintWith(corev1.TaintEffectPreferNoSchedule), host: taintWith(corev1.TaintEffectPreferNoSchedule)},
		"both: taint":           {reason: "with both settings changes go to the host", settings: "both", do: taint("mine", "x"), host: taint("mine", "x")},
		"both: protected taint": {reason: "kept, as the scheduler uses it", settings: "both", do: taint("a.k8s.io/x", "x")},
	}
}

// protectedLabels returns keys that never go to the host, although the operator names them.
func protectedLabels() []string {
	return []string{"kubernetes.io/x", "topology.kubernetes.io/zone", "a.k8s.io/x", "node-restriction.kubernetes.io/x", "b.node-restriction.kubernetes.io/x", "sublet.dev/x", "t.sublet.dev/x"}
}

func labelCells() map[string]cell {
	cells := map[string]cell{}
	for _, settings := range []string{"default", "scheduler"} {
		cells[settings+": label"] = cell{reason: "kept beside the host's", settings: settings, do: label("mine", "x")}
		cells[settings+": agent's label"] = cell{reason: "feature discovery goes on", settings: settings, do: label("feature.node.kubernetes.io/cpu", "x")}
		cells[settings+": relabel"] = cell{reason: "the host's stays", settings: settings, do: label("hosts", "x"), refused: []string{"label hosts is the host's"}}
		cells[settings+": unlabel"] = cell{reason: "the host's stays", settings: settings, do: unlabel("hosts"), refused: []string{"label hosts is the host's"}}
		cells[settings+": label by status"] = cell{
			reason: "an API server takes labels there too", settings: settings, subresource: "status",
			do: label("hosts", "x"), refused: []string{"label hosts is the host's"},
		}
	}
	for _, settings := range []string{"default", "scheduler", "back", "both"} {
		cells[settings+": annotate"] = cell{
			reason: "kept beside the host's, and never the host's", settings: settings,
			do: func(n *corev1.Node) { n.Annotations["csi.example.com/node"] = "x" },
		}
		cells[settings+": reannotate"] = cell{
			reason: "the host's stays", settings: settings, refused: []string{"annotation hosts is the host's"},
			do: func(n *corev1.Node) { n.Annotations["hosts"] = "x" },
		}
		cells[settings+": own annotations"] = cell{
			reason: "they say whose a field is", settings: settings, refused: []string{labels.LastApplied, "syncer's own"},
			do: func(n *corev1.Node) { delete(n.Annotations, labels.LastApplied) },
		}
	}
	cells["back: label"] = cell{reason: "it goes to the host", settings: "back", do: label("mine", "x"), host: label("mine", "x")}
	cells["back: relabel"] = cell{reason: "it goes to the host", settings: "back", do: label("hosts", "x"), host: label("hosts", "x")}
	cells["back: unlabel"] = cell{reason: "it goes to the host", settings: "back", do: unlabel("hosts"), host: unlabel("hosts")}
	cells["both: label"] = cell{reason: "with both settings changes go to the host", settings: "both", do: label("mine", "x"), host: label("mine", "x")}
	cells["back: selector"] = cell{reason: "else a node would leave the virtual cluster", settings: "back", do: unlabel("pool"), refused: []string{"selector"}}
	cells["back: unnamed label"] = cell{reason: "it may select nodes for another release", settings: "back", do: label("other-tenant", "x")}
	cells["back: relabel unnamed"] = cell{
		reason: "it may select nodes for another release", settings: "back", do: unlabel("theirs"),
		refused: []string{"label theirs is the host's", "sync.fromHost.nodes.syncBackLabels"},
	}
	for _, key := range protectedLabels() {
		cells["back: label "+key] = cell{reason: "protected names stay in the virtual cluster", settings: "back", do: label(key, "x")}
	}
	cells["back: not protected"] = cell{reason: "another domain that ends alike", settings: "back", do: label("notk8s.io/x", "x"), host: label("notk8s.io/x", "x")}
	cells["back: relabel protected"] = cell{
		reason: "the host's components trust it", settings: "back", do: label("kubernetes.io/arch", "x"), refused: []string{"kubernetes.io/arch", "nothing under"},
	}
	return cells
}

func statusCells() map[string]cell {
	cells := map[string]cell{}
	for _, settings := range []string{"default", "scheduler", "back", "both"} {
		cells[settings+": condition"] = cell{
			reason: "the status is the host's", settings: settings, subresource: "status", refused: []string{"status of a node is the host's"},
			do: func(n *corev1.Node) { n.Status.Phase = corev1.NodeTerminated },
		}
		cells[settings+": the host's resource"] = cell{
			reason: "nobody else knows how much there is", settings: settings, subresource: "status",
			do: capacity("example.com/gpu", "9"), refused: []string{"example.com/gpu", "host's"},
		}
		cells[settings+": another spec"] = cell{
			reason: "nothing but the cordon and taints has two owners", settings: settings, refused: []string{"spec.providerID is the host's"},
			do: func(n *corev1.Node) { n.Spec.ProviderID = "example://9" },
		}
	}
	for _, settings := range []string{"default", "back"} {
		cells[settings+": extended resource"] = cell{
			reason: "nobody would count it", settings: settings, subresource: "status",
			do: capacity("example.com/dongle", "4"), refused: []string{schedulerSetting},
		}
	}
	for _, settings := range []string{"scheduler", "both"} {
		cells[settings+": extended resource"] = cell{
			reason: "the tenant's scheduler counts it", settings: settings, subresource: "status",
			do: capacity("example.com/dongle", "4"),
			next: func(n *corev1.Node) {
				n.Status.Allocatable["example.com/dongle"] = resource.MustParse("4")
			},
		}
		cells[settings+": native resource"] = cell{
			reason: "a tenant cannot make CPUs", settings: settings, subresource: "status",
			do: capacity("hugepages-2Mi", "4Mi"), refused: []string{"hugepages-2Mi"},
		}
	}
	return cells
}
