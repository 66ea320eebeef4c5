package nodes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// Edit is the difference between two states of the node fields that a tenant may
// write, key by key. A nil value removes its key.
type Edit struct {
	labels, annotations map[string]*string
	taints              map[string]*corev1.Taint // key and effect -> taint
	unschedulable       *bool
}

// newEdit returns the edit that turns before into after. It leaves out the
// annotations that Sublet alone writes.
func newEdit(before, after *corev1.Node) Edit {
	edit := Edit{
		labels:      changedKeys(before.Labels, after.Labels),
		annotations: changedKeys(before.Annotations, after.Annotations),
		taints:      map[string]*corev1.Taint{},
	}
	for _, key := range ownKeys() {
		delete(edit.annotations, key)
	}
	if before.Spec.Unschedulable != after.Spec.Unschedulable {
		edit.unschedulable = &after.Spec.Unschedulable
	}
	old := map[string]corev1.Taint{}
	for _, taint := range before.Spec.Taints {
		old[taintKey(taint)] = taint
		edit.taints[taintKey(taint)] = nil
	}
	for _, taint := range after.Spec.Taints {
		key := taintKey(taint)
		edit.taints[key] = &taint
		if previous, ok := old[key]; ok && equality.Semantic.DeepEqual(previous, taint) {
			delete(edit.taints, key)
		}
	}
	return edit
}

// changedKeys returns the values of after that before does not have, and nil for
// each key that after lacks.
func changedKeys(before, after map[string]string) map[string]*string {
	changed := map[string]*string{}
	for key := range before {
		if _, ok := after[key]; !ok {
			changed[key] = nil
		}
	}
	for key, value := range after {
		if old, ok := before[key]; !ok || old != value {
			changed[key] = &value
		}
	}
	return changed
}

// IsEmpty reports whether the edit changes nothing.
func (e Edit) IsEmpty() bool {
	return len(e.labels)+len(e.annotations)+len(e.taints) == 0 && e.unschedulable == nil
}

// HiddenTaintError is returned for an edit of a taint that the host node has and the tenant does not see.
type HiddenTaintError struct{ taint string }

func (e *HiddenTaintError) Error() string {
	return fmt.Sprintf("cannot change taint %s: each pod of the tenant tolerates the one that the host node has", e.taint)
}

// TenantMessage returns a text for the tenant.
func (e *HiddenTaintError) TenantMessage() string {
	return fmt.Sprintf("the taint %s cannot be changed: the host has another one with this key and effect, "+
		"which the operator lets each pod tolerate with %s. Use another key", e.taint, enforceSetting)
}

// Apply makes an edit on a host node as it is now. It never changes annotations of the host. If the edit has
// the key and effect of a taint that the tenant does not see, it returns a [HiddenTaintError] and changes nothing.
func (r Rules) Apply(edit Edit, host *corev1.Node) error {
	for _, taint := range host.Spec.Taints {
		if _, ok := edit.taints[taintKey(taint)]; ok && tolerates(r.Tolerations, taint) {
			return &HiddenTaintError{taintKey(taint)}
		}
	}
	edit.apply(host)
	return nil
}

// apply makes the edit on a host node.
func (e Edit) apply(host *corev1.Node) {
	for key, value := range e.labels {
		if value == nil {
			delete(host.Labels, key)
			continue
		}
		metav1.SetMetaDataLabel(&host.ObjectMeta, key, *value)
	}
	for _, key := range slices.Sorted(maps.Keys(e.taints)) {
		i := slices.IndexFunc(host.Spec.Taints, func(t corev1.Taint) bool { return taintKey(t) == key })
		switch taint := e.taints[key]; {
		case taint == nil && i >= 0:
			host.Spec.Taints = slices.Delete(host.Spec.Taints, i, i+1)
		case taint != nil && i >= 0:
			host.Spec.Taints[i] = *taint
		case taint != nil:
			host.Spec.Taints = append(host.Spec.Taints, *taint)
		}
	}
	if e.unschedulable != nil {
		host.Spec.Unschedulable = *e.unschedulable
	}
}

// taintKey returns the key under which a node has at most one taint.
func taintKey(t corev1.Taint) string { return t.Key + ":" + string(t.Effect) }

// hasTaint reports whether taints contain one with the key and effect of taint.
func hasTaint(taints []corev1.Taint, taint corev1.Taint) bool {
	return slices.ContainsFunc(taints, func(t corev1.Taint) bool { return taintKey(t) == taintKey(taint) })
}

// protectedDomains returns the prefixes of names that the host's own components use.
// No tenant writes such names, or names in their subdomains, on the host.
func protectedDomains() []string {
	return []string{"kubernetes.io", "k8s.io", "node-restriction.kubernetes.io", labels.Domain}
}

// isProtected reports whether a label or taint has such a name.
func isProtected(name string) bool {
	domain, _, ok := strings.Cut(name, "/")
	return ok && slices.ContainsFunc(protectedDomains(), func(d string) bool {
		return domain == d || strings.HasSuffix(domain, "."+d)
	})
}
