package kinds

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// nodeEdit is what a write changes of the fields of a node that a tenant may have a
// part in, each key by itself. nil is a key that is removed.
type nodeEdit struct {
	labels, annotations map[string]*string
	taints              map[string]*corev1.Taint
	unschedulable       *bool
}

// editOf is the edit that makes after of before. The annotations that are Sublet's
// own are left out.
func editOf(before, after *corev1.Node) nodeEdit {
	edit := nodeEdit{
		labels:      changedKeys(before.Labels, after.Labels),
		annotations: changedKeys(before.Annotations, after.Annotations),
		taints:      map[string]*corev1.Taint{},
	}
	for _, key := range []string{labels.HostUID, labels.Agreed, labels.Tenant} {
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
		if was, had := old[key]; had && equality.Semantic.DeepEqual(was, taint) {
			delete(edit.taints, key)
		}
	}
	return edit
}

// changedKeys are the values of after that before does not have, and nil for each
// key that after lacks.
func changedKeys(before, after map[string]string) map[string]*string {
	changed := map[string]*string{}
	for key := range before {
		if _, stays := after[key]; !stays {
			changed[key] = nil
		}
	}
	for key, value := range after {
		if was, had := before[key]; !had || was != value {
			changed[key] = &value
		}
	}
	return changed
}

// empty says that the edit changes nothing.
func (e nodeEdit) empty() bool {
	return len(e.labels)+len(e.annotations)+len(e.taints) == 0 && e.unschedulable == nil
}

// apply makes the edit on a host node. Annotations are never the host's business.
func (e nodeEdit) apply(host *corev1.Node) {
	for key, value := range e.labels {
		if value == nil {
			delete(host.Labels, key)
			continue
		}
		if host.Labels == nil {
			host.Labels = map[string]string{}
		}
		host.Labels[key] = *value
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

// passed makes the record say that what the edit touches is the host's now, and
// the tenant's no more.
func (r nodeRecord) passed(edit nodeEdit) nodeRecord {
	agreed := map[string]translate.Agreed{}
	for name, field := range r.agreed {
		agreed[name] = maps.Clone(field)
	}
	r.agreed = agreed
	agree(agreed, labelsField, edit.labels)
	agree(agreed, taintsField, edit.taints)
	r.aside.Labels = maps.Clone(r.aside.Labels)
	for key := range edit.labels {
		delete(r.aside.Labels, key)
	}
	r.aside.Taints = slices.DeleteFunc(slices.Clone(r.aside.Taints), func(t corev1.Taint) bool {
		_, edited := edit.taints[taintKey(t)]
		return edited
	})
	if edit.unschedulable != nil {
		agreed[unschedulableField] = cordonedBy(*edit.unschedulable, false)
	}
	return r
}

// agree changes one field of the agreed state as an edit of it says.
func agree[T any](agreed map[string]translate.Agreed, field string, edit map[string]*T) {
	if agreed[field] == nil {
		agreed[field] = translate.Agreed{}
	}
	set := map[string]T{}
	for key, value := range edit {
		delete(agreed[field], key)
		if value != nil {
			set[key] = *value
		}
	}
	maps.Copy(agreed[field], translate.Agree(set))
}

// protectedDomains are the prefixes of names that mean something to the host's own
// components. No tenant writes below them, or below their subdomains, on the host.
func protectedDomains() []string {
	return []string{"kubernetes.io", "k8s.io", "node-restriction.kubernetes.io", labels.Domain}
}

// protected says whether a label or taint has such a name.
func protected(name string) bool {
	domain, _, ok := strings.Cut(name, "/")
	return ok && slices.ContainsFunc(protectedDomains(), func(d string) bool {
		return domain == d || strings.HasSuffix(domain, "."+d)
	})
}
