package kinds

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// hostTaints is the prefix of taints that only the host's controllers set, by a
// node's conditions. No one in the virtual cluster would ever remove one.
const hostTaints = "node.kubernetes.io/"

func taintKey(t corev1.Taint) string { return t.Key + ":" + string(t.Effect) }

// cordonTaint is what a node's controller sets on a node that is cordoned. The
// virtual cluster has no such controller, so it comes with the tenant's cordon: how
// pods are spread may depend on taints, and never depends on a cordon.
func cordonTaint() corev1.Taint {
	return corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
}

// tenantPart is what a tenant has put on a virtual node, wherever it lies: in the
// node's own fields, or set aside because the host's values hide it.
type tenantPart struct {
	labels, annotations   map[string]string
	taints                []corev1.Taint
	cordoned              bool
	capacity, allocatable corev1.ResourceList
}

// tenantOf takes the tenant's part out of a virtual node: whatever is not the
// host's part as it was last shown.
func tenantOf(virtual *corev1.Node, record nodeRecord) tenantPart {
	part := tenantPart{
		labels:      tenantKeys(record.agreed[labelsField], virtual.Labels, record.aside.Labels),
		annotations: tenantKeys(record.agreed[annotationsField], virtual.Annotations, record.aside.Annotations),
		capacity:    record.aside.Capacity,
		allocatable: record.aside.Allocatable,
	}
	for key := range ownAnnotations(virtual.Annotations) {
		delete(part.annotations, key)
	}
	seen := map[string]bool{}
	for i, taint := range slices.Concat(virtual.Spec.Taints, record.aside.Taints) {
		_, hosts := record.agreed[taintsField][taintKey(taint)]
		shown := i < len(virtual.Spec.Taints)
		if seen[taintKey(taint)] || hosts && shown || strings.HasPrefix(taint.Key, hostTaints) {
			continue
		}
		seen[taintKey(taint)] = true
		part.taints = append(part.taints, taint)
	}
	hostDid, tenantDid := record.cordons()
	part.cordoned = tenantDid
	if virtual.Spec.Unschedulable != (hostDid || tenantDid) {
		part.cordoned = virtual.Spec.Unschedulable
	}
	return part
}

// tenantKeys are the values of a virtual node that are not the host's, and those
// that the host's hide.
func tenantKeys(agreed translate.Agreed, virtual, aside map[string]string) map[string]string {
	values := make(map[string]string, len(virtual))
	for key, value := range virtual {
		if _, hosts := agreed[key]; !hosts {
			values[key] = value
		}
	}
	maps.Copy(values, aside)
	return values
}

// schedules says whether the part has something that only a scheduler heeds.
func (p *tenantPart) schedules() bool {
	return p.cordoned || len(p.taints) > 0 || len(p.capacity) > 0 || len(p.allocatable) > 0
}

// withoutScheduling drops what only a scheduler of the virtual cluster heeds.
func (p *tenantPart) withoutScheduling() {
	p.taints, p.cordoned, p.capacity, p.allocatable = nil, false, nil, nil
}

// overlay fills in the fields of a virtual node that both sides write: the host's
// part, which shows whatever the tenant has there, and beside it the tenant's. It
// records what is whose. Without a scheduler of the virtual cluster the tenant's
// cordon, taints and resources would mean nothing, and are taken away.
func overlay(s syncer.Scope, host, virtual *corev1.Node, scheduler bool) error {
	before := readRecord(virtual.Annotations)
	part := tenantOf(virtual, before)
	if !scheduler && part.schedules() {
		part.withoutScheduling()
		s.Say("NodeChangesDropped", "The tenant's cordon, taints and extended resources of this node were taken away: "+
			schedulerKey+" is off, so that no scheduler of this virtual cluster heeds them.")
	}
	after := show(host, virtual, part)
	if hidden := after.aside.hides(before.aside); len(hidden) > 0 {
		s.Say("NodeChangesHidden", "The host has set "+strings.Join(hidden, ", ")+" on this node, which hides the tenant's own until the host removes it.")
	}
	if err := after.write(virtual); err != nil {
		return fmt.Errorf("cannot record what is the host's part of virtual node %s: %w", virtual.Name, err)
	}
	return nil
}

// show is the host's part over the tenant's, and the record of it.
func show(host, virtual *corev1.Node, part tenantPart) nodeRecord {
	annotations := passedAnnotations(host.Annotations)
	record := nodeRecord{agreed: map[string]translate.Agreed{
		labelsField:        translate.Agree(host.Labels),
		annotationsField:   translate.Agree(annotations),
		taintsField:        translate.AgreeList(host.Spec.Taints, taintKey),
		resourcesField:     resourceNames(host.Status.Capacity, host.Status.Allocatable),
		unschedulableField: cordonedBy(host.Spec.Unschedulable, part.cordoned),
	}}
	own := ownAnnotations(virtual.Annotations)
	virtual.Labels, record.aside.Labels = over(host.Labels, part.labels)
	virtual.Annotations, record.aside.Annotations = over(annotations, part.annotations)
	if virtual.Annotations == nil {
		virtual.Annotations = map[string]string{}
	}
	maps.Copy(virtual.Annotations, own)
	virtual.Spec.Taints = slices.Clone(host.Spec.Taints)
	for _, taint := range part.taints {
		if slices.ContainsFunc(host.Spec.Taints, func(t corev1.Taint) bool { return taintKey(t) == taintKey(taint) }) {
			record.aside.Taints = append(record.aside.Taints, taint)
			continue
		}
		virtual.Spec.Taints = append(virtual.Spec.Taints, taint)
	}
	if part.cordoned && !slices.ContainsFunc(host.Spec.Taints, func(t corev1.Taint) bool { return taintKey(t) == taintKey(cordonTaint()) }) {
		virtual.Spec.Taints = append(virtual.Spec.Taints, cordonTaint())
	}
	slices.SortFunc(record.aside.Taints, func(a, b corev1.Taint) int { return strings.Compare(taintKey(a), taintKey(b)) })
	virtual.Spec.Unschedulable = host.Spec.Unschedulable || part.cordoned
	record.aside.Capacity, record.aside.Allocatable = part.capacity, part.allocatable
	return record
}

// over is the host's values with those of the tenant's that they do not hide, and
// those that they hide.
func over(host, tenant map[string]string) (shown, hidden map[string]string) {
	shown = make(map[string]string, len(host)+len(tenant))
	maps.Copy(shown, host)
	for key, value := range tenant {
		if _, taken := host[key]; !taken {
			shown[key] = value
			continue
		}
		if hidden == nil {
			hidden = map[string]string{}
		}
		hidden[key] = value
	}
	if len(shown) == 0 {
		shown = nil
	}
	return shown, hidden
}

// withResources adds the tenant's extended resources to the status of a node,
// except for those that the host has itself.
func withResources(status *corev1.NodeStatus, aside setAside) {
	hosts := resourceNames(status.Capacity, status.Allocatable)
	add := func(list, tenant corev1.ResourceList) corev1.ResourceList {
		for name, quantity := range tenant {
			if _, taken := hosts[string(name)]; taken {
				continue
			}
			if list == nil {
				list = corev1.ResourceList{}
			}
			list[name] = quantity
		}
		return list
	}
	status.Capacity, status.Allocatable = add(status.Capacity, aside.Capacity), add(status.Allocatable, aside.Allocatable)
}

// changesNode says whether a status differs from that of the virtual node in more
// than the times of its heartbeats. Those are worth no write; they come along with
// the next change.
func changesNode(status, virtual *corev1.NodeStatus) bool {
	if len(status.Conditions) != len(virtual.Conditions) {
		return true
	}
	bare := *status
	bare.Conditions = slices.Clone(status.Conditions)
	for i := range bare.Conditions {
		bare.Conditions[i].LastHeartbeatTime = virtual.Conditions[i].LastHeartbeatTime
	}
	return !equality.Semantic.DeepEqual(&bare, virtual)
}
