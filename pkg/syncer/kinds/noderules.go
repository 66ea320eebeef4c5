package kinds

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// The settings that decide what a tenant may do to a node, as messages name them.
const (
	schedulerKey      = "controlPlane.advanced.virtualScheduler.enabled"
	syncBackKey       = "sync.fromHost.nodes.syncBackChanges"
	syncBackFieldsKey = "sync.fromHost.nodes.syncBackFields"
)

// nodeRules decide about the single changes of an edit.
type nodeRules struct {
	scheduler bool
	nodes     v1alpha1.Nodes
}

// verdict is what becomes of an edit. What is neither passed to the host nor
// refused is kept on the virtual node.
type verdict struct {
	toHost   nodeEdit
	refusals []string
	warnings []string
}

func (v *verdict) refuse(format string, args ...any) {
	v.refusals = append(v.refusals, fmt.Sprintf(format, args...))
}

// judge decides about an edit of a virtual node with that record.
func (r nodeRules) judge(record nodeRecord, edit nodeEdit) verdict {
	v := verdict{toHost: nodeEdit{labels: map[string]*string{}, taints: map[string]*corev1.Taint{}}}
	r.judgeCordon(&v, record, edit)
	for _, key := range slices.Sorted(maps.Keys(edit.taints)) {
		r.judgeTaint(&v, record, key, edit.taints[key])
	}
	for _, key := range slices.Sorted(maps.Keys(edit.labels)) {
		r.judgeLabel(&v, record, key, edit.labels[key])
	}
	for _, key := range slices.Sorted(maps.Keys(edit.annotations)) {
		if _, hosts := record.agreed[annotationsField][key]; hosts {
			v.refuse("the annotation %s is the host's and cannot be changed or removed here; use a key that the host does not have", key)
		}
	}
	return v
}

// back says whether changes of a field go to the host.
func (r nodeRules) back(field v1alpha1.NodeField) bool {
	return r.nodes.SyncBackChanges && slices.Contains(r.nodes.SyncBackFields, field)
}

// way is the way out for a change that only a scheduler or the host could heed.
func (r nodeRules) way(field v1alpha1.NodeField) string {
	const heeds = "The host schedules the pods of this virtual cluster and would not heed it. The operator can allow it with " +
		schedulerKey + " (for this virtual cluster alone) or with "
	if r.nodes.SyncBackChanges {
		return heeds + fmt.Sprintf("%s in %s, beside %s (on the host's node)", field, syncBackFieldsKey, syncBackKey)
	}
	return heeds + syncBackKey + " (on the host's node)"
}

func (r nodeRules) judgeCordon(v *verdict, record nodeRecord, edit nodeEdit) {
	if edit.unschedulable == nil {
		return
	}
	host, _ := record.cordons()
	switch {
	case r.back(v1alpha1.NodeUnschedulable):
		if *edit.unschedulable || host {
			v.toHost.unschedulable = edit.unschedulable
		}
	case !*edit.unschedulable && host:
		v.refuse("the host has cordoned this node, and only the host can uncordon it (%s would pass it on)", syncBackKey)
	case !r.scheduler && *edit.unschedulable:
		v.refuse("it cannot be cordoned here. %s", r.way(v1alpha1.NodeUnschedulable))
	case !r.scheduler:
		v.refuse("it cannot be uncordoned here. %s", r.way(v1alpha1.NodeUnschedulable))
	}
}

func (r nodeRules) judgeTaint(v *verdict, record nodeRecord, key string, taint *corev1.Taint) {
	_, hosts := record.agreed[taintsField][key]
	name, _, _ := strings.Cut(key, ":")
	verb := "set"
	if taint == nil {
		verb = "removed"
	}
	switch {
	case strings.HasPrefix(name, hostTaints):
		v.refuse("the taint %s is the host's: those under %s tell the condition of its node", key, strings.TrimSuffix(hostTaints, "/"))
	case r.back(v1alpha1.NodeTaints):
		r.passTaint(v, hosts, key, taint)
	case hosts && r.scheduler:
		v.refuse("the taint %s is the host's and cannot be changed or removed here", key)
	case !r.scheduler:
		v.refuse("the taint %s cannot be %s here. %s", key, verb, r.way(v1alpha1.NodeTaints))
	}
}

// passTaint passes the change of a taint to the host. One with a protected name is
// kept if a scheduler heeds it and the host does not have it.
func (r nodeRules) passTaint(v *verdict, hosts bool, key string, taint *corev1.Taint) {
	switch {
	case protected(key):
		if hosts || !r.scheduler {
			v.refuse("the taint %s cannot be changed: nothing under %s is ever passed to the host", key, strings.Join(protectedDomains(), ", "))
		}
	case hosts || taint != nil:
		v.toHost.taints[key] = taint
	}
}

func (r nodeRules) judgeLabel(v *verdict, record nodeRecord, key string, value *string) {
	_, hosts := record.agreed[labelsField][key]
	_, selects := r.nodes.Selector.Labels[key]
	back := r.back(v1alpha1.NodeLabels)
	switch {
	case selects:
		v.refuse("the label %s is what selects this node for the virtual cluster (sync.fromHost.nodes.selector.labels) and cannot be changed here", key)
	case back && !protected(key):
		if hosts || value != nil {
			v.toHost.labels[key] = value
		}
	case hosts && back:
		v.refuse("the label %s is the host's and cannot be changed: nothing under %s is ever passed to the host", key, strings.Join(protectedDomains(), ", "))
	case hosts:
		v.refuse("the label %s is the host's and cannot be changed or removed here; use a key that the host does not have", key)
	case back && value != nil:
		v.warnings = append(v.warnings, fmt.Sprintf("the label %s stays in the virtual cluster: nothing under %s is passed to the host", key, strings.Join(protectedDomains(), ", ")))
	}
}
