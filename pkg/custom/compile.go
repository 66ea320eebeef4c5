package custom

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// compiler derives the nodes of a plan from a schema.
type compiler struct {
	options Options
	err     error                         // of the first rule that means nothing
	rules   map[string]v1alpha1.Reference // path -> the operator's rule
	met     map[string]bool               // paths of rules that the schema has
	allowed *fieldTree                    // the only fields that pass, nil for all
}

// location is where a value is.
type location struct {
	path string // with [*] for items and values
	key  string // of the field, also for items of lists
}

// value returns the node of a value, nil if nothing is to be done with it.
func (c *compiler) value(at location, schema *apiextensionsv1.JSONSchemaProps) *node {
	n := c.anyValue(at, schema)
	if n != nil && !c.allowed.has(at.path) {
		n.optional = true // Nobody can set it, so that it must not be missed.
	}
	return n
}

// anyValue returns the node of a value, whether or not it is allowed.
func (c *compiler) anyValue(at location, schema *apiextensionsv1.JSONSchemaProps) *node {
	if rule, ok := c.rules[at.path]; ok {
		c.met[at.path] = true
		return c.fromRule(at, rule, schema)
	}
	n := fromShape(at, schema)
	switch {
	case n == nil, n.rule == ruleUnknown && c.options.Trusted:
		return c.below(at, schema)
	case n.rule == ruleUnknown && c.isDeclared(at, schema):
		return c.declared(at, schema) // The operator specifies what it refers to.
	case n.rule == noRule:
		return c.withOthers(at, schema, n)
	}
	return n
}

// isDeclared reports whether the operator has rules for what an object refers to or selects.
func (c *compiler) isDeclared(at location, schema *apiextensionsv1.JSONSchemaProps) bool {
	if isOpaque(schema) || isPodSpec(schema) {
		return false
	}
	if !looksLikeSelector(at.key) {
		_, ok := c.rules[at.path+".name"]
		return ok
	}
	for path := range c.rules {
		if strings.HasPrefix(path, at.path+".") {
			return true
		}
	}
	return false
}

// declared returns the node of an object that looks like a reference or a selector, and of
// which the operator has rules for some fields. A selector with other fields is denied.
func (c *compiler) declared(at location, schema *apiextensionsv1.JSONSchemaProps) *node {
	n := c.below(at, schema)
	if !looksLikeSelector(at.key) || n == nil {
		return n
	}
	for key := range schema.Properties {
		if _, ruled := c.rules[join(at.path, key)]; !ruled && n.fields[key] == nil {
			n.add(key, unknownNode("it is a part of a selector"))
		}
	}
	return n
}

// withOthers returns the node of an object that refers to another one, with the operator's
// rules for its fields. Fields without a rule may refer to further objects.
func (c *compiler) withOthers(at location, schema *apiextensionsv1.JSONSchemaProps, n *node) *node {
	for key, property := range schema.Properties {
		below := location{path: join(at.path, key), key: key}
		if _, ruled := c.rules[below.path]; ruled || n.fields[key] == nil {
			delete(n.fields, key)
			n.add(key, c.value(below, &property))
		}
	}
	return n.orNil()
}

// below returns the node of a value that is no reference itself.
func (c *compiler) below(at location, schema *apiextensionsv1.JSONSchemaProps) *node {
	n := &node{}
	switch {
	case schema.Items != nil && schema.Items.Schema != nil:
		n.items = c.value(location{path: at.path + each, key: at.key}, schema.Items.Schema)
	case len(schema.Properties) > 0:
		for _, key := range slices.Sorted(maps.Keys(schema.Properties)) {
			property := schema.Properties[key]
			n.add(key, c.value(location{path: join(at.path, key), key: key}, &property))
		}
	case schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil:
		n.values = c.value(location{path: at.path + each, key: at.key}, schema.AdditionalProperties.Schema)
		if c.isKeyedByNames(at, n.values) {
			return unknownNode("its keys look like names of other objects")
		}
	}
	return n.orNil()
}

// isKeyedByNames reports whether the keys of a map look like names of objects, as in secrets: {NAME: {...}}. That
// is so if its values refer to nothing, and no rule of the operator is for them.
func (c *compiler) isKeyedByNames(at location, values *node) bool {
	if c.options.Trusted || !endsWithNoun(at.key) || values != nil && values.rule != ruleUnknown {
		return false
	}
	for path := range c.rules {
		if strings.HasPrefix(path, at.path+each) {
			return false
		}
	}
	return true
}

// fromRule returns the node of the operator's rule.
func (c *compiler) fromRule(at location, rule v1alpha1.Reference, schema *apiextensionsv1.JSONSchemaProps) *node {
	switch rule.To {
	case v1alpha1.ToNone:
		return nil
	case v1alpha1.ToLabelSelector:
		return &node{rule: ruleSelector, optional: rule.Optional}
	case v1alpha1.ToLabels:
		return &node{rule: ruleLabels, optional: rule.Optional}
	case v1alpha1.ToNamespace:
		return &node{rule: ruleNamespaces, unchanged: rule.Names}
	case v1alpha1.ToHostname:
		return &node{rule: ruleHostnames, optional: rule.Optional, unchanged: rule.Names}
	case v1alpha1.ToEmpty:
		return &node{rule: ruleEmpty}
	case v1alpha1.ToObject:
		return c.fromObjectRule(at, rule, schema)
	case v1alpha1.ToImage:
		return &node{rule: ruleImage}
	case v1alpha1.ToGracePeriod:
		return &node{rule: ruleGracePeriod}
	case v1alpha1.ToPodMetadata:
		return &node{rule: rulePodMetadata, needed: true}
	}
	n := &node{rule: ruleNames, target: c.target(rule, rule.To), unchanged: rule.Names}
	n.target.produced = rule.Produced
	return n
}

// referenceFields returns the fields by which an object refers to another one.
func referenceFields() []string {
	return []string{"kind", "name", "namespace", "group", "apiGroup", "apiVersion"}
}

// fromObjectRule returns the node of an object with kind and name. Its other fields have
// nodes of their own.
func (c *compiler) fromObjectRule(at location, rule v1alpha1.Reference, schema *apiextensionsv1.JSONSchemaProps) *node {
	if schema.Items != nil && schema.Items.Schema != nil {
		schema = schema.Items.Schema
		at.path += each
	}
	n := &node{rule: ruleObjects, targets: map[string]target{}, kind: rule.Kind, unchanged: rule.Names}
	for kind, resource := range rule.Kinds {
		n.targets[kind] = c.target(rule, resource)
	}
	if schema.Properties["name"].Type != "string" {
		c.fail(rule.Path + " has no name, so that it refers to no object")
	}
	for _, key := range slices.Sorted(maps.Keys(schema.Properties)) {
		if property := schema.Properties[key]; !slices.Contains(referenceFields(), key) {
			n.add(key, c.value(location{path: join(at.path, key), key: key}, &property))
		}
	}
	return n
}

// target returns what a rule refers to by the name of a resource.
func (c *compiler) target(rule v1alpha1.Reference, resource string) target {
	if slices.Contains(v1alpha1.HostClasses(), resource) {
		return target{resource: resource, listed: true}
	}
	t := target{resource: resource}
	if !v1alpha1.IsCustom(resource) || c.options.Synced != nil && c.options.Synced(resource) {
		return t
	}
	if c.options.FromHost != nil {
		t.host = c.options.FromHost(resource)
	}
	if t.host == nil {
		t.listed = true
		if len(rule.Names) == 0 {
			c.fail(rule.Path + " names " + resource + ", which sync has no custom resources of; switch it on, or list names")
		}
	}
	return t
}

// fail records a rule that means nothing.
func (c *compiler) fail(text string) {
	if c.err == nil {
		c.err = fmt.Errorf("%s.references: %s", c.options.Setting, text)
	}
}

func join(above, key string) string {
	if above == "" {
		return key
	}
	return above + "." + key
}
