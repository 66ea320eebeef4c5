package nodes

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// The fields of a virtual node that both its host and its tenant write, as the
// annotation [labels.LastApplied] names them. It records the host's part as it was last
// shown; the tenant added everything else that the virtual node has.
const (
	labelsField        = "labels"
	annotationsField   = "annotations"
	taintsField        = "taints"
	resourcesField     = "resources"
	unschedulableField = "unschedulable"
)

// The two parts of an unschedulable node. The host, the tenant or both cordon a node,
// and each side uncordons only its own part.
const (
	byHost   = "host"
	byTenant = "tenant"
)

// record is what the annotations of a virtual node record about the owners of its
// fields.
type record struct {
	lastApplied map[string]translate.LastApplied // field -> the host's keys, with digests
	hidden      tenantValues
}

// tenantValues is the content of the annotation [labels.Tenant]: the values of the
// tenant that the fields of the node do not show by themselves.
type tenantValues struct {
	// Labels, Annotations and Taints are hidden by the host's under the same keys.
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Taints      []corev1.Taint    `json:"taints,omitempty"`
	// Capacity and Allocatable are all extended resources that the tenant added.
	// The status is written apart from the annotations, so it proves nothing.
	Capacity    corev1.ResourceList `json:"capacity,omitempty"`
	Allocatable corev1.ResourceList `json:"allocatable,omitempty"`
}

// readRecord decodes the record of a virtual node. A part that cannot be decoded
// counts as empty: the tenant then owns everything that the host does not have now.
func readRecord(annotations map[string]string) record {
	r := record{lastApplied: translate.DecodeLastApplied(annotations[labels.LastApplied])}
	if err := json.Unmarshal([]byte(annotations[labels.Tenant]), &r.hidden); err != nil {
		r.hidden = tenantValues{}
	}
	return r
}

// write encodes the record into the annotations of a virtual node, which must not
// be nil.
func (r record) write(virtual *corev1.Node) error {
	encoded, err := translate.EncodeLastApplied(r.lastApplied)
	if err != nil {
		return fmt.Errorf("cannot encode the record of node %s: %w", virtual.Name, err)
	}
	hidden, err := json.Marshal(r.hidden)
	if err != nil {
		return fmt.Errorf("cannot encode the tenant's values of node %s: %w", virtual.Name, err)
	}
	virtual.Annotations[labels.LastApplied] = encoded
	virtual.Annotations[labels.Tenant] = string(hidden)
	if string(hidden) == "{}" {
		delete(virtual.Annotations, labels.Tenant)
	}
	return nil
}

// cordons has who has cordoned a node.
type cordons struct{ host, tenant bool }

// cordons returns who has cordoned the node.
func (r record) cordons() (by cordons) {
	_, by.host = r.lastApplied[unschedulableField][byHost]
	_, by.tenant = r.lastApplied[unschedulableField][byTenant]
	return by
}

// digest returns the record of who has cordoned a node.
func (c cordons) digest() translate.LastApplied {
	values := map[string]bool{}
	if c.host {
		values[byHost] = true
	}
	if c.tenant {
		values[byTenant] = true
	}
	return translate.DigestValues(values)
}

// resourceNames returns the record of the resources that the host has. Nobody else
// changes their amounts.
func resourceNames(lists ...corev1.ResourceList) translate.LastApplied {
	names := translate.LastApplied{}
	for _, list := range lists {
		for name := range list {
			names[string(name)] = ""
		}
	}
	return names
}

// ownAnnotations returns the annotations of a virtual node that Sublet alone writes.
func ownAnnotations(annotations map[string]string) map[string]string {
	own := map[string]string{}
	for _, key := range ownKeys() {
		if value, ok := annotations[key]; ok {
			own[key] = value
		}
	}
	return own
}

// newlyHidden returns the names of what v hides and before did not.
func (v tenantValues) newlyHidden(before tenantValues) []string {
	var hidden []string
	for _, key := range slices.Sorted(maps.Keys(v.Labels)) {
		if _, ok := before.Labels[key]; !ok {
			hidden = append(hidden, "the label "+key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(v.Annotations)) {
		if _, ok := before.Annotations[key]; !ok {
			hidden = append(hidden, "the annotation "+key)
		}
	}
	for _, taint := range v.Taints {
		if !hasTaint(before.Taints, taint) {
			hidden = append(hidden, "the taint "+taintKey(taint))
		}
	}
	return hidden
}

// passed returns the record for after the edit has gone to the host: what it touches
// is the host's, and the tenant's no more.
func (r record) passed(edit Edit) record {
	lastApplied := map[string]translate.LastApplied{}
	for name, field := range r.lastApplied {
		lastApplied[name] = maps.Clone(field)
	}
	r.lastApplied = lastApplied
	applyTo(lastApplied, labelsField, edit.labels)
	applyTo(lastApplied, taintsField, edit.taints)
	r.hidden.Labels = maps.Clone(r.hidden.Labels)
	for key := range edit.labels {
		delete(r.hidden.Labels, key)
	}
	r.hidden.Taints = slices.DeleteFunc(slices.Clone(r.hidden.Taints), func(t corev1.Taint) bool {
		_, edited := edit.taints[taintKey(t)]
		return edited
	})
	if edit.unschedulable != nil {
		lastApplied[unschedulableField] = cordons{host: *edit.unschedulable}.digest()
	}
	return r
}

// applyTo changes one field of a record as an edit of it specifies.
func applyTo[T any](lastApplied map[string]translate.LastApplied, field string, edit map[string]*T) {
	if lastApplied[field] == nil {
		lastApplied[field] = translate.LastApplied{}
	}
	set := map[string]T{}
	for key, value := range edit {
		delete(lastApplied[field], key)
		if value != nil {
			set[key] = *value
		}
	}
	maps.Copy(lastApplied[field], translate.DigestValues(set))
}
