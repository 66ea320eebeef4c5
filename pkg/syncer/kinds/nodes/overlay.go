package nodes

import (
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

// cordonTaint returns the taint that a node controller sets on a cordoned node. The
// virtual cluster has no such controller, so the taint comes with the tenant's cordon.
// Pod topology spread may use taints, and never uses a cordon.
func cordonTaint() corev1.Taint {
	return corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
}

// tenantPart is what a tenant has put on a virtual node: in the node's own fields, or
// hidden because the host uses the same keys.
type tenantPart struct {
	labels, annotations   map[string]string
	taints                []corev1.Taint
	cordoned              bool
	capacity, allocatable corev1.ResourceList
}

// extractTenantPart returns the tenant's part of a virtual node: all that is not the
// host's part as it was last shown.
func extractTenantPart(virtual *corev1.Node, r record) tenantPart {
	part := tenantPart{
		labels:      tenantKeys(r.lastApplied[labelsField], virtual.Labels, r.hidden.Labels),
		annotations: tenantKeys(r.lastApplied[annotationsField], virtual.Annotations, r.hidden.Annotations),
		capacity:    r.hidden.Capacity,
		allocatable: r.hidden.Allocatable,
	}
	for _, key := range ownKeys() {
		delete(part.annotations, key)
	}
	seen := map[string]bool{}
	for i, taint := range slices.Concat(virtual.Spec.Taints, r.hidden.Taints) {
		_, hosts := r.lastApplied[taintsField][taintKey(taint)]
		visible := i < len(virtual.Spec.Taints)
		if seen[taintKey(taint)] || hosts && visible || strings.HasPrefix(taint.Key, hostTaints) {
			continue
		}
		seen[taintKey(taint)] = true
		part.taints = append(part.taints, taint)
	}
	by := r.cordons()
	part.cordoned = by.tenant
	if virtual.Spec.Unschedulable != (by.host || by.tenant) {
		part.cordoned = virtual.Spec.Unschedulable
	}
	return part
}

// tenantKeys returns the values of a virtual node that are not the host's, and those
// that the host's hide.
func tenantKeys(lastApplied translate.LastApplied, virtual, hidden map[string]string) map[string]string {
	values := make(map[string]string, len(virtual))
	for key, value := range virtual {
		if _, hosts := lastApplied[key]; !hosts {
			values[key] = value
		}
	}
	maps.Copy(values, hidden)
	return values
}

// needsScheduler reports whether the part has something that only a scheduler uses.
func (p *tenantPart) needsScheduler() bool {
	return p.cordoned || len(p.taints) > 0 || len(p.capacity) > 0 || len(p.allocatable) > 0
}

// dropScheduling drops what only a scheduler of the virtual cluster uses.
func (p *tenantPart) dropScheduling() {
	p.taints, p.cordoned, p.capacity, p.allocatable = nil, false, nil, nil
}

// overlay fills in the fields of a virtual node that both sides write: the host's
// part, and the tenant's under all other keys. It records which part is whose.
// Without a scheduler of the virtual cluster it removes the tenant's cordon, taints
// and resources, which would have no effect.
func overlay(s syncer.Scope, host, virtual *corev1.Node, o Options) error {
	before := readRecord(virtual.Annotations)
	part := extractTenantPart(virtual, before)
	if !o.VirtualScheduler && part.needsScheduler() {
		part.dropScheduling()
		s.RecordEvent("NodeChangesDropped", "Removed the cordon, taints and extended resources that tenants set on this node: "+
			"they require "+schedulerSetting+", which is off.")
	}
	after := merge(o.visibleHost(host), virtual, part)
	if hidden := after.hidden.newlyHidden(before.hidden); len(hidden) > 0 {
		s.RecordEvent("NodeChangesHidden", "The host has set "+strings.Join(hidden, ", ")+" on this node, which hides the tenant's own until the host removes it.")
	}
	return after.write(virtual)
}

// merge writes the visible part of a host node and the tenant's into a virtual node. It
// returns the record of it.
func merge(host, virtual *corev1.Node, part tenantPart) record {
	r := record{lastApplied: map[string]translate.LastApplied{
		labelsField:        translate.DigestValues(host.Labels),
		annotationsField:   translate.DigestValues(host.Annotations),
		taintsField:        translate.DigestList(host.Spec.Taints, taintKey),
		resourcesField:     resourceNames(host.Status.Capacity, host.Status.Allocatable),
		unschedulableField: cordons{host: host.Spec.Unschedulable, tenant: part.cordoned}.digest(),
	}}
	own := ownAnnotations(virtual.Annotations)
	virtual.Labels, r.hidden.Labels = overlayKeys(host.Labels, part.labels)
	virtual.Annotations, r.hidden.Annotations = overlayKeys(host.Annotations, part.annotations)
	if virtual.Annotations == nil {
		virtual.Annotations = map[string]string{}
	}
	maps.Copy(virtual.Annotations, own)
	virtual.Spec.Taints = slices.Clone(host.Spec.Taints)
	for _, taint := range part.taints {
		if hasTaint(host.Spec.Taints, taint) {
			r.hidden.Taints = append(r.hidden.Taints, taint)
			continue
		}
		virtual.Spec.Taints = append(virtual.Spec.Taints, taint)
	}
	if part.cordoned && !hasTaint(host.Spec.Taints, cordonTaint()) {
		virtual.Spec.Taints = append(virtual.Spec.Taints, cordonTaint())
	}
	slices.SortFunc(r.hidden.Taints, func(a, b corev1.Taint) int { return strings.Compare(taintKey(a), taintKey(b)) })
	virtual.Spec.Unschedulable = host.Spec.Unschedulable || part.cordoned
	r.hidden.Capacity, r.hidden.Allocatable = part.capacity, part.allocatable
	return r
}

// overlayKeys returns the values to show: the host's, and the tenant's under all
// other keys. hidden returns the tenant's under the host's keys.
func overlayKeys(host, tenant map[string]string) (visible, hidden map[string]string) {
	visible = make(map[string]string, len(host)+len(tenant))
	maps.Copy(visible, host)
	for key, value := range tenant {
		if _, ok := host[key]; !ok {
			visible[key] = value
			continue
		}
		if hidden == nil {
			hidden = map[string]string{}
		}
		hidden[key] = value
	}
	if len(visible) == 0 {
		visible = nil
	}
	return visible, hidden
}

// addTenantResources adds the tenant's extended resources to the status of a node,
// except for those that the host has itself.
func addTenantResources(status *corev1.NodeStatus, tenant tenantValues) {
	hosts := resourceNames(status.Capacity, status.Allocatable)
	add := func(list, tenant corev1.ResourceList) corev1.ResourceList {
		for name, quantity := range tenant {
			if _, ok := hosts[string(name)]; ok {
				continue
			}
			if list == nil {
				list = corev1.ResourceList{}
			}
			list[name] = quantity
		}
		return list
	}
	status.Capacity, status.Allocatable = add(status.Capacity, tenant.Capacity), add(status.Allocatable, tenant.Allocatable)
}

// changesStatus reports whether a status differs from that of the virtual node in
// more than the times of heartbeats. Those cause no write of their own.
func changesStatus(status, virtual *corev1.NodeStatus) bool {
	bare := *status
	bare.Conditions = virtual.Conditions
	return !equalConditions(status.Conditions, virtual.Conditions) || !equality.Semantic.DeepEqual(&bare, virtual)
}
