package kinds

import (
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// The fields of a virtual node that both its host and its tenant write, as the
// annotation [labels.Agreed] calls them. What is agreed is the host's part as it
// was last shown; whatever else the virtual node has, its tenant added.
const (
	labelsField        = "labels"
	annotationsField   = "annotations"
	taintsField        = "taints"
	resourcesField     = "resources"
	unschedulableField = "unschedulable"
)

// The two parts of an unschedulable node. A node is cordoned by the one, by the
// other or by both, and what one side undoes is its own cordon alone.
const (
	byHost   = "host"
	byTenant = "tenant"
)

// nodeRecord is what the annotations of a virtual node say about whose its fields
// are.
type nodeRecord struct {
	agreed map[string]translate.Agreed
	aside  setAside
}

// setAside is what the annotation [labels.Tenant] holds: the part of the tenant's
// that the fields of the node do not show by themselves.
type setAside struct {
	// Labels, Annotations and Taints are hidden by the host's under the same keys.
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Taints      []corev1.Taint    `json:"taints,omitempty"`
	// Capacity and Allocatable are all extended resources that the tenant added.
	// The status is written apart from the annotations, so what it shows proves
	// nothing.
	Capacity    corev1.ResourceList `json:"capacity,omitempty"`
	Allocatable corev1.ResourceList `json:"allocatable,omitempty"`
}

// readRecord reads the record of a virtual node. What cannot be read counts as not
// there: then everything is the tenant's that the host does not have now.
func readRecord(annotations map[string]string) nodeRecord {
	record := nodeRecord{agreed: translate.DecodeAgreed(annotations[labels.Agreed])}
	if err := json.Unmarshal([]byte(annotations[labels.Tenant]), &record.aside); err != nil {
		record.aside = setAside{}
	}
	return record
}

// write puts the record on a virtual node, whose annotations it may change.
func (r nodeRecord) write(virtual *corev1.Node) error {
	agreed, err := translate.EncodeAgreed(r.agreed)
	if err != nil {
		return err
	}
	aside, err := json.Marshal(r.aside)
	if err != nil {
		return err
	}
	virtual.Annotations[labels.Agreed] = agreed
	virtual.Annotations[labels.Tenant] = string(aside)
	if string(aside) == "{}" {
		delete(virtual.Annotations, labels.Tenant)
	}
	return nil
}

// cordons says who has cordoned the node.
func (r nodeRecord) cordons() (host, tenant bool) {
	_, host = r.agreed[unschedulableField][byHost]
	_, tenant = r.agreed[unschedulableField][byTenant]
	return host, tenant
}

// cordonedBy is the record of who has cordoned a node.
func cordonedBy(host, tenant bool) translate.Agreed {
	cordons := map[string]bool{}
	if host {
		cordons[byHost] = true
	}
	if tenant {
		cordons[byTenant] = true
	}
	return translate.Agree(cordons)
}

// resourceNames records which resources the host has. Their amounts are nobody
// else's to change.
func resourceNames(lists ...corev1.ResourceList) translate.Agreed {
	names := translate.Agreed{}
	for _, list := range lists {
		for name := range list {
			names[string(name)] = ""
		}
	}
	return names
}

// ownAnnotations are those of a virtual node that are Sublet's own.
func ownAnnotations(annotations map[string]string) map[string]string {
	own := map[string]string{}
	for _, key := range []string{labels.HostUID, labels.Agreed, labels.Tenant} {
		if value, ok := annotations[key]; ok {
			own[key] = value
		}
	}
	return own
}

// hides lists what is set aside now and was not before, in words.
func (a setAside) hides(before setAside) []string {
	var hidden []string
	for _, key := range slices.Sorted(maps.Keys(a.Labels)) {
		if _, was := before.Labels[key]; !was {
			hidden = append(hidden, "the label "+key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(a.Annotations)) {
		if _, was := before.Annotations[key]; !was {
			hidden = append(hidden, "the annotation "+key)
		}
	}
	for _, taint := range a.Taints {
		if !slices.ContainsFunc(before.Taints, func(t corev1.Taint) bool { return taintKey(t) == taintKey(taint) }) {
			hidden = append(hidden, "the taint "+taintKey(taint))
		}
	}
	return hidden
}

// TenantResources are the extended resources that the tenant has added to a virtual
// node. No host knows them: a host pod that asked for one would never run.
func TenantResources(virtual *corev1.Node) corev1.ResourceList {
	record := readRecord(virtual.Annotations)
	resources := corev1.ResourceList{}
	for _, list := range []corev1.ResourceList{record.aside.Capacity, record.aside.Allocatable} {
		for name, quantity := range list {
			if _, hosts := record.agreed[resourcesField][string(name)]; !hosts {
				resources[name] = quantity
			}
		}
	}
	return resources
}
