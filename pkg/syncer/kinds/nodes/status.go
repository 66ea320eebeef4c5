package nodes

import (
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// DecideStatus decides about a write to the status of a node. The host owns all of it
// but extended resources that the host does not have, which a scheduler of the virtual
// cluster counts. Those go into the record, and into both lists of after, as a kubelet
// writes them.
func (r Rules) DecideStatus(before, after *corev1.Node) Decision {
	if denial := denyOwnAnnotations(before, after); denial != "" {
		return Decision{Denials: []string{denial}}
	}
	d := r.decide(readRecord(before.Annotations), newEdit(before, after))
	d.changed = true
	r.decideStatus(&d, before, after)
	return d
}

// isHeartbeat reports whether an update of a host node changes nothing but the times of
// heartbeats. It is decided before anything is computed: most updates are heartbeats.
func isHeartbeat(before, after *corev1.Node) bool {
	old, changed := *before, *after
	old.ResourceVersion, changed.ResourceVersion = "", ""
	old.ManagedFields, changed.ManagedFields = nil, nil
	old.Status.Conditions, changed.Status.Conditions = nil, nil
	return equalConditions(before.Status.Conditions, after.Status.Conditions) && reflect.DeepEqual(&old, &changed)
}

// equalConditions reports whether two lists of conditions differ in nothing but the
// times of heartbeats.
func equalConditions(a, b []corev1.NodeCondition) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.NodeCondition) bool {
		x.LastHeartbeatTime = y.LastHeartbeatTime
		return equality.Semantic.DeepEqual(x, y)
	})
}

// decideStatus decides about the status alone.
func (r Rules) decideStatus(d *Decision, before, after *corev1.Node) {
	old, changed := before.Status.DeepCopy(), after.Status.DeepCopy()
	old.Capacity, old.Allocatable, changed.Capacity, changed.Allocatable = nil, nil, nil, nil
	if !equality.Semantic.DeepEqual(old, changed) {
		d.denyf("the status of a node is the host's and cannot be written here")
		return
	}
	hidden := &d.record.hidden
	hidden.Capacity, hidden.Allocatable = cloneOrNew(hidden.Capacity), cloneOrNew(hidden.Allocatable)
	names := map[corev1.ResourceName]bool{}
	for _, list := range []corev1.ResourceList{before.Status.Capacity, before.Status.Allocatable, after.Status.Capacity, after.Status.Allocatable} {
		for name := range list {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if differs(before.Status.Capacity, after.Status.Capacity, name) || differs(before.Status.Allocatable, after.Status.Allocatable, name) {
			r.decideResource(d, before, after, name)
		}
	}
}

// decideResource decides about a changed amount of one resource.
func (r Rules) decideResource(d *Decision, before, after *corev1.Node, name corev1.ResourceName) {
	_, hosts := d.record.lastApplied[resourcesField][string(name)]
	_, visible := before.Status.Capacity[name]
	_, tenants := d.record.hidden.Capacity[name]
	switch {
	case hosts || visible && !tenants:
		d.denyf("the resource %s of a node is the host's and cannot be changed here", name)
	case !translate.IsExtendedResource(name):
		d.denyf("the resource %s cannot be added to a node: only extended resources such as example.com/dongle can", name)
	case !r.VirtualScheduler:
		d.denyf("the resource %s cannot be added to a node: only a scheduler of the virtual cluster counts it. Ask the operator to set %s.", name, schedulerSetting)
	default:
		recordResource(&d.record, before, after, name)
	}
}

// recordResource records the amounts that a tenant gives to a resource of theirs.
func recordResource(r *record, before, after *corev1.Node, name corev1.ResourceName) {
	capacity, hasCapacity := after.Status.Capacity[name]
	allocatable, hasAllocatable := after.Status.Allocatable[name]
	if !hasCapacity && (!hasAllocatable || differs(before.Status.Capacity, after.Status.Capacity, name)) {
		for _, list := range []corev1.ResourceList{after.Status.Capacity, after.Status.Allocatable, r.hidden.Capacity, r.hidden.Allocatable} {
			delete(list, name)
		}
		return
	}
	if !hasCapacity {
		capacity = allocatable
	}
	if !hasAllocatable || !differs(before.Status.Allocatable, after.Status.Allocatable, name) {
		allocatable = capacity
	}
	after.Status.Capacity, after.Status.Allocatable = cloneOrNew(after.Status.Capacity), cloneOrNew(after.Status.Allocatable)
	after.Status.Capacity[name], r.hidden.Capacity[name] = capacity, capacity
	after.Status.Allocatable[name], r.hidden.Allocatable[name] = allocatable, allocatable
}

// cloneOrNew returns a copy of a list that can be written to.
func cloneOrNew(list corev1.ResourceList) corev1.ResourceList {
	if list == nil {
		return corev1.ResourceList{}
	}
	return list.DeepCopy()
}

// differs reports whether two lists have different amounts of a resource.
func differs(before, after corev1.ResourceList, name corev1.ResourceName) bool {
	old, hadOne := before[name]
	changed, hasOne := after[name]
	return hadOne != hasOne || old.Cmp(changed) != 0
}
