package custom

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// compiler derives the nodes of a plan from a schema.
type compiler struct {
	trusted bool
	rules   map[string]v1alpha1.Reference // path -> the operator's rule
	met     map[string]bool               // paths of rules that the schema has
}

// place is where a value is.
type place struct {
	path string // with [*] for items and values
	key  string // of the field, also for items of lists
}

// value returns the node of a value, nil if nothing is to be done with it.
func (c *compiler) value(at place, schema *apiextensionsv1.JSONSchemaProps) *node {
	if rule, ok := c.rules[at.path]; ok {
		c.met[at.path] = true
		return fromRule(rule)
	}
	n := fromShape(at, schema)
	switch {
	case n == nil, n.rule == unknown && c.trusted:
		return c.below(at, schema)
	case n.rule == unknown && !isOpaque(schema) && c.hasRule(at.path+".name"):
		return c.below(at, schema) // The operator specifies what it refers to.
	case n.rule == passes:
		return c.withRules(at, schema, n)
	}
	return n
}

// hasRule reports whether the operator has a rule for a path.
func (c *compiler) hasRule(path string) bool {
	_, ok := c.rules[path]
	return ok
}

// withRules returns the node of an object that refers to another one, with the operator's
// rules for its fields.
func (c *compiler) withRules(at place, schema *apiextensionsv1.JSONSchemaProps, n *node) *node {
	for key := range schema.Properties {
		if rule, ok := c.rules[join(at.path, key)]; ok {
			c.met[join(at.path, key)] = true
			delete(n.fields, key)
			n.add(key, fromRule(rule))
		}
	}
	return n.orNil()
}

// below returns the node of a value that is no reference itself.
func (c *compiler) below(at place, schema *apiextensionsv1.JSONSchemaProps) *node {
	n := &node{}
	switch {
	case schema.Items != nil && schema.Items.Schema != nil:
		n.items = c.value(place{path: at.path + "[*]", key: at.key}, schema.Items.Schema)
	case len(schema.Properties) > 0:
		for _, key := range sortedKeys(schema.Properties) {
			property := schema.Properties[key]
			n.add(key, c.value(place{path: join(at.path, key), key: key}, &property))
		}
	case schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil:
		n.values = c.value(place{path: at.path + "[*]", key: at.key}, schema.AdditionalProperties.Schema)
	}
	return n.orNil()
}

// fromRule returns the node of the operator's rule.
func fromRule(rule v1alpha1.Reference) *node {
	switch rule.To {
	case v1alpha1.ToNone:
		return nil
	case v1alpha1.ToLabelSelector:
		return &node{rule: selects, optional: rule.Optional}
	case v1alpha1.ToLabels:
		return &node{rule: selectsLabels, optional: rule.Optional}
	case v1alpha1.ToNamespace:
		return &node{rule: namespaces}
	}
	return &node{rule: names, resource: rule.To}
}

func join(above, key string) string {
	if above == "" {
		return key
	}
	return above + "." + key
}
