package custom

import (
	"errors"
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// The resources of Kubernetes that custom resources may name.
const (
	secrets    = "secrets"
	configMaps = "configmaps"
	services   = "services"
	claims     = "persistentvolumeclaims"
	accounts   = "serviceaccounts"
)

// Plan is what the fields of a kind refer to. The zero value refers to nothing.
type Plan struct {
	root *node
	// setting is the path of the settings of the kind, for messages.
	setting string
}

// node is a field and what is below it. A node without a rule and without anything below does
// not exist.
type node struct {
	rule ruleKind
	// resource is what a rule of kind names refers to.
	resource string
	// why is the reason of a rule of kind unknown.
	why string
	// optional specifies that a selector may be left out.
	optional bool

	fields map[string]*node
	items  *node
	values *node
}

// ruleKind is what is done with a field.
type ruleKind int

const (
	passes ruleKind = iota
	names
	selects       // matchLabels and matchExpressions
	selectsLabels // a map of labels
	namespaces    // one or a list
	unknown       // must be empty
)

// Options are what a plan is compiled from, in addition to the schema.
type Options struct {
	// Setting is the path of the settings of the kind, for messages.
	Setting string
	// References are the operator's rules.
	References []v1alpha1.Reference
	// Trusted passes what has no rule.
	Trusted bool
	// Synced reports whether the tenant's objects of a custom resource, such as
	// issuers.example.com, are synced too.
	Synced func(resource string) bool
}

// Compile returns the plan of a kind. It fails if a path of a rule is not in the schema.
func Compile(schema *apiextensionsv1.JSONSchemaProps, o Options) (*Plan, error) {
	if schema == nil {
		return nil, errors.New("it has no schema")
	}
	c := compiler{trusted: o.Trusted, rules: map[string]v1alpha1.Reference{}, met: map[string]bool{}}
	for _, reference := range o.References {
		if isCustom(reference.To) && (o.Synced == nil || !o.Synced(reference.To)) {
			return nil, fmt.Errorf("%s.references: %s names %s, which sync.toHost.customResources does not have", o.Setting, reference.Path, reference.To)
		}
		if _, twice := c.rules[reference.Path]; twice {
			return nil, fmt.Errorf("%s.references: %s has two rules", o.Setting, reference.Path)
		}
		c.rules[reference.Path] = reference
	}
	root := &node{}
	for key, property := range schema.Properties {
		switch key {
		case "apiVersion", "kind", "metadata", "status":
			continue
		}
		root.add(key, c.value(place{path: key, key: key}, &property))
	}
	for path := range c.rules {
		if !c.met[path] {
			return nil, fmt.Errorf("%s.references: %s is no field of the schema, or below another reference", o.Setting, path)
		}
	}
	return &Plan{root: root, setting: o.Setting}, nil
}

// isCustom reports whether a target is a custom resource.
func isCustom(to string) bool { return strings.Contains(to, ".") }

// add puts a node below another one, unless it is nil.
func (n *node) add(key string, below *node) {
	if below == nil {
		return
	}
	if n.fields == nil {
		n.fields = map[string]*node{}
	}
	n.fields[key] = below
}

// orNil returns the node, or nil if nothing is to be done with the field.
func (n *node) orNil() *node {
	if n.rule == passes && n.fields == nil && n.items == nil && n.values == nil {
		return nil
	}
	return n
}
