package nodes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
)

// The settings that decide what a tenant may do to a node, as messages name them.
const (
	schedulerSetting      = "controlPlane.advanced.virtualScheduler.enabled"
	syncBackSetting       = "sync.fromHost.nodes.syncBackChanges"
	syncBackFieldsSetting = "sync.fromHost.nodes.syncBackFields"
	syncBackLabelsSetting = "sync.fromHost.nodes.syncBackLabels"
	enforceSetting        = "sync.toHost.pods.enforceTolerations"
	taintEffectsSetting   = "sync.fromHost.nodes.syncBackTaintEffects"
)

// Rules decide about the single changes of a tenant's write to a node.
type Rules struct {
	// VirtualScheduler specifies whether a scheduler of the virtual cluster picks
	// nodes. Default: false.
	VirtualScheduler bool
	// Nodes are the settings of sync.fromHost.nodes. Default: nothing goes to the host.
	Nodes v1alpha1.Nodes
	// Tolerations are those that each pod of the tenant gets. The tenant does not see the
	// taints that they tolerate, and changes none on the host. Default: none.
	Tolerations []corev1.Toleration
}

// Decision is the result of the rules for a write. What neither goes to the host nor
// is denied stays on the virtual node.
type Decision struct {
	// Denials are the reasons to deny the write. Default: none, it is allowed.
	Denials []string
	// Warnings are for the tenant. Default: none.
	Warnings []string
	// ToHost is the part that goes to the host.
	ToHost Edit

	record  record
	changed bool // the record differs from that of the node before
}

// denyf adds a reason to deny the write.
func (d *Decision) denyf(format string, args ...any) {
	d.Denials = append(d.Denials, fmt.Sprintf(format, args...))
}

// NeedsRecord reports whether the record of the node changes with the write. Without
// a change the tenant owns what is kept, because no record names the host.
func (d *Decision) NeedsRecord() bool { return d.changed }

// WriteRecord writes the owners of the fields into the annotations of after.
func (d *Decision) WriteRecord(after *corev1.Node) error {
	return d.record.passed(d.ToHost).write(after)
}

// Decide decides about an update of a virtual node that is the copy of a host node.
func (r Rules) Decide(before, after *corev1.Node) Decision {
	if denial := denyOwnAnnotations(before, after); denial != "" {
		return Decision{Denials: []string{denial}}
	}
	d := r.decide(readRecord(before.Annotations), newEdit(before, after))
	if field := changedHostField(before, after); field != "" {
		d.denyf("%s is the host's; only taints and unschedulable can be changed of the spec of a node", field)
	}
	d.changed = !d.ToHost.IsEmpty()
	return d
}

// ToHost returns the part of an update that goes to the host.
func (r Rules) ToHost(before, after *corev1.Node) Edit {
	return r.decide(readRecord(before.Annotations), newEdit(before, after)).ToHost
}

// denyOwnAnnotations returns the denial for a change of annotations that Sublet alone
// writes, empty if there is none.
func denyOwnAnnotations(before, after *corev1.Node) string {
	if maps.Equal(ownAnnotations(before.Annotations), ownAnnotations(after.Annotations)) {
		return ""
	}
	return fmt.Sprintf("the annotations %s, %s and %s are the syncer's own", labels.HostUID, labels.LastApplied, labels.Tenant)
}

// changedHostField returns a changed field of a node's spec that no tenant writes,
// empty if there is none.
func changedHostField(before, after *corev1.Node) string {
	old, changed := before.Spec.DeepCopy(), after.Spec.DeepCopy()
	for _, spec := range []*corev1.NodeSpec{old, changed} {
		spec.Taints, spec.Unschedulable = nil, false
	}
	switch {
	case equality.Semantic.DeepEqual(old, changed):
		return ""
	case old.PodCIDR != changed.PodCIDR || !slices.Equal(old.PodCIDRs, changed.PodCIDRs):
		return "spec.podCIDRs"
	case old.ProviderID != changed.ProviderID:
		return "spec.providerID"
	default:
		return "that part of the spec"
	}
}

// decide decides about an edit of a virtual node with that record.
func (r Rules) decide(node record, edit Edit) Decision {
	d := Decision{record: node, ToHost: Edit{labels: map[string]*string{}, taints: map[string]*corev1.Taint{}}}
	r.decideCordon(&d, edit)
	for _, key := range slices.Sorted(maps.Keys(edit.taints)) {
		r.decideTaint(&d, key, edit.taints[key])
	}
	for _, key := range slices.Sorted(maps.Keys(edit.labels)) {
		r.decideLabel(&d, key, edit.labels[key])
	}
	for _, key := range slices.Sorted(maps.Keys(edit.annotations)) {
		if _, ok := node.lastApplied[annotationsField][key]; ok {
			d.denyf("the annotation %s is the host's and cannot be changed or removed here; use a key that the host does not have", key)
		}
	}
	return d
}

// syncsBack reports whether changes of a field go to the host.
func (r Rules) syncsBack(field v1alpha1.NodeField) bool {
	return r.Nodes.SyncBackChanges && slices.Contains(r.Nodes.SyncBackFields, field)
}

// hint returns what to do about a change that only a scheduler or the host could use.
func (r Rules) hint(field v1alpha1.NodeField) string {
	const reason = "the host schedules this cluster's pods. Ask the operator to set " +
		schedulerSetting + " (for this virtual cluster alone) or "
	if r.Nodes.SyncBackChanges {
		return reason + fmt.Sprintf("%s in %s, in addition to %s (on the host's node).", field, syncBackFieldsSetting, syncBackSetting)
	}
	return reason + syncBackSetting + " (on the host's node)."
}

// decideCordon decides about a changed field unschedulable.
func (r Rules) decideCordon(d *Decision, edit Edit) {
	if edit.unschedulable == nil {
		return
	}
	host := d.record.cordons().host
	switch {
	case r.syncsBack(v1alpha1.NodeUnschedulable):
		if *edit.unschedulable || host {
			d.ToHost.unschedulable = edit.unschedulable
		}
	case !*edit.unschedulable && host:
		d.denyf("the host has cordoned this node, and only the host can uncordon it (%s would pass it on)", syncBackSetting)
	case !r.VirtualScheduler && *edit.unschedulable:
		d.denyf("cordon is not available: %s", r.hint(v1alpha1.NodeUnschedulable))
	case !r.VirtualScheduler:
		d.denyf("uncordon is not available: %s", r.hint(v1alpha1.NodeUnschedulable))
	}
}

// decideTaint decides about a taint that is set, changed or, if nil, removed.
func (r Rules) decideTaint(d *Decision, key string, taint *corev1.Taint) {
	_, hosts := d.record.lastApplied[taintsField][key]
	name, _, _ := strings.Cut(key, ":")
	verb := "set"
	if taint == nil {
		verb = "removed"
	}
	switch {
	case strings.HasPrefix(name, hostTaints):
		d.denyf("the taint %s is the host's: those under %s show the conditions of its node", key, strings.TrimSuffix(hostTaints, "/"))
	case r.syncsBack(v1alpha1.NodeTaints):
		r.passTaint(d, hosts, key, taint)
	case hosts && r.VirtualScheduler:
		d.denyf("the taint %s is the host's and cannot be changed or removed here", key)
	case !r.VirtualScheduler:
		d.denyf("the taint %s cannot be %s here: %s", key, verb, r.hint(v1alpha1.NodeTaints))
	}
}

// passTaint passes the change of a taint to the host. A protected name stays on the
// virtual node if a scheduler uses it and the host does not have it.
func (r Rules) passTaint(d *Decision, hosts bool, key string, taint *corev1.Taint) {
	_, effect, _ := strings.Cut(key, ":")
	switch {
	case taint != nil && tolerates(r.Tolerations, *taint):
		d.denyf("the taint %s cannot be set: it would have no effect, as the operator lets each pod tolerate it with %s", key, enforceSetting)
	case (hosts || taint != nil) && !slices.Contains(r.Nodes.SyncBackTaintEffects, corev1.TaintEffect(effect)):
		d.denyf("the taint %s cannot be changed: no taint with the effect %s is passed to the host. Ask the operator to add it to %s.", key, effect, taintEffectsSetting)
	case isProtected(key):
		if hosts || !r.VirtualScheduler {
			d.denyf("the taint %s cannot be changed: nothing under %s is ever passed to the host", key, strings.Join(protectedDomains(), ", "))
		}
	case hosts || taint != nil:
		d.ToHost.taints[key] = taint
	}
}

// decideLabel decides about a label that is set, changed or, if nil, removed.
func (r Rules) decideLabel(d *Decision, key string, value *string) {
	_, hosts := d.record.lastApplied[labelsField][key]
	_, selects := r.Nodes.Selector.Labels[key]
	back := r.syncsBack(v1alpha1.NodeLabels)
	switch {
	case selects:
		d.denyf("the label %s selects this node for the virtual cluster (sync.fromHost.nodes.selector.labels) and cannot be changed here", key)
	case back && r.passesLabel(key):
		if hosts || value != nil {
			d.ToHost.labels[key] = value
		}
	case hosts && back:
		d.denyf("the label %s is the host's and cannot be changed: %s", key, keptLabels(key))
	case hosts:
		d.denyf("the label %s is the host's and cannot be changed or removed here; use a key that the host does not have", key)
	case value != nil:
		r.warnOfLabel(d, key, back)
	}
}

// warnOfLabel warns of a label that is set and has less effect than on another cluster.
func (r Rules) warnOfLabel(d *Decision, key string, back bool) {
	switch {
	case back:
		d.Warnings = append(d.Warnings, fmt.Sprintf("the label %s stays in the virtual cluster: %s", key, keptLabels(key)))
	case !r.VirtualScheduler:
		d.Warnings = append(d.Warnings, fmt.Sprintf("the label %s has no effect on scheduling: %s", key, r.hint(v1alpha1.NodeLabels)))
	}
}

// passesLabel reports whether a label may go to the host. The keys that select the nodes of
// other releases are unknown here, so only keys that the operator names do.
func (r Rules) passesLabel(key string) bool {
	return !isProtected(key) && slices.Contains(r.Nodes.SyncBackLabels, key)
}

// keptLabels returns why a label is not passed to the host.
func keptLabels(key string) string {
	if isProtected(key) {
		return "nothing under " + strings.Join(protectedDomains(), ", ") + " is passed to the host"
	}
	return "only the keys in " + syncBackLabelsSetting + " are passed to the host"
}
