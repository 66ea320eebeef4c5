package custom

import (
	"cmp"
	"errors"
	"fmt"

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
	// domain is that of the virtual cluster.
	domain string
	// shown and allowsHost are those of the options, and never nil.
	shown      func(resource, namespace, name string) bool
	allowsHost func(host string) bool
	// allowed are the only fields that pass, nil if all pass.
	allowed *fieldTree
	// quantities are the fields that may be quantities.
	quantities *quantityTree
	images     Images
	// maxGrace is how many seconds pods may take to end.
	maxGrace int64
}

// node is a field and what is below it. A node without a rule and without anything below does
// not exist.
type node struct {
	rule ruleKind
	// target is what ruleNames refers to.
	target target
	// targets are what ruleObjects refers to, by kind. kind is the one of an object
	// without one.
	targets map[string]target
	kind    string
	// unchanged are the values that stay as they are.
	unchanged []string
	// why is the reason of ruleUnknown.
	why string
	// optional specifies that a selector or a host name may be left out.
	optional bool
	// needed specifies that the field is the metadata of pods, or has it below.
	needed bool

	fields map[string]*node
	items  *node
	values *node
}

// ruleKind is what is done with a field.
type ruleKind int

const (
	noRule         ruleKind = iota
	ruleNames               // one or a list
	ruleSelector            // matchLabels and matchExpressions
	ruleLabels              // a map of labels
	ruleNamespaces          // one or a list
	ruleObjects             // an object with kind and name
	ruleHostnames           // one or a list
	ruleImage
	ruleGracePeriod
	rulePodMetadata // of pods that a controller of the host makes
	ruleEmpty       // must be left out by a rule
	ruleUnknown     // must be left out, because it may refer to something and no rule names it
)

// target is what a name refers to.
type target struct {
	resource string
	// host are the settings of a kind of the host, nil for one of the tenant.
	host *v1alpha1.HostCustomResource
	// produced specifies that the host writes the object.
	produced bool
	// listed specifies that no name passes but those of the rule.
	listed bool
}

// Options are what a plan is compiled from, in addition to the schema.
type Options struct {
	// Setting is the path of the settings of the kind, for messages.
	Setting string
	// References are the operator's rules.
	References []v1alpha1.Reference
	// Trusted passes what has no rule.
	Trusted bool
	// ClusterDomain is the DNS domain of the virtual cluster. Default: cluster.local.
	ClusterDomain string
	// Synced reports whether the tenant's objects of a custom resource, such as
	// issuers.example.com, are synced too.
	Synced func(resource string) bool
	// FromHost returns the settings of a custom resource of the host, nil if the tenant sees none
	// of its objects.
	FromHost func(resource string) *v1alpha1.HostCustomResource
	// Shown reports whether the tenant sees an object of a custom resource of the host. The key
	// is that of its copy. nil means that no object is seen.
	Shown func(resource, namespace, name string) bool
	// AllowsHost reports whether the tenant may use a host name, empty for all names. nil means
	// that no name is allowed.
	AllowsHost func(host string) bool
	// AllowedFields are the paths of the only fields that pass, in addition to those of References. Empty
	// passes all.
	AllowedFields []string
	// Images are the rules for images.
	Images Images
	// MaxGracePeriodSeconds is how long pods may take to end. Default: 0
	MaxGracePeriodSeconds int64
}

// Images are the rules for images of the tenant.
type Images struct {
	// Deny returns what is wrong with an image and which setting can change that, both empty if the
	// tenant may use it. nil means that no image is allowed.
	Deny func(image string) (detail, setting string)
	// Translate returns the image that the host pulls. nil keeps it.
	Translate func(image string) string
	// AlwaysPull sets the pull policy next to an image to Always.
	AlwaysPull bool
}

// Compile returns the plan of a kind. It fails if a path of a rule is not in the schema.
func Compile(schema *apiextensionsv1.JSONSchemaProps, o Options) (*Plan, error) {
	if err := checkSchema(schema, o); err != nil {
		return nil, err
	}
	c := compiler{options: o, rules: map[string]v1alpha1.Reference{}, met: map[string]bool{}, allowed: newFieldTree(o)}
	for _, reference := range o.References {
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
		root.add(key, c.value(location{path: key, key: key}, &property))
	}
	if err := errors.Join(c.err, checkAllowedFields(schema, o)); err != nil {
		return nil, err
	}
	for path := range c.rules {
		if !c.met[path] && !c.rules[path].Optional {
			return nil, fmt.Errorf("%s.references: %s is no field of the schema, or below another reference", o.Setting, path)
		}
	}
	plan := &Plan{
		root: root, setting: o.Setting, domain: cmp.Or(o.ClusterDomain, "cluster.local"), shown: o.Shown, allowsHost: o.AllowsHost,
		allowed: c.allowed, quantities: newQuantityTree(schema), images: o.Images, maxGrace: o.MaxGracePeriodSeconds,
	}
	if plan.shown == nil {
		plan.shown = func(_, _, _ string) bool { return false }
	}
	if plan.allowsHost == nil {
		plan.allowsHost = func(string) bool { return false }
	}
	return plan, nil
}

// checkSchema fails if a schema does not describe the fields of its objects.
func checkSchema(schema *apiextensionsv1.JSONSchemaProps, o Options) error {
	if schema == nil {
		return errors.New("it has no schema")
	}
	if open := schema.XPreserveUnknownFields; open != nil && *open && !o.Trusted {
		return fmt.Errorf("its schema allows anything, so that no reference can be found; set %s.trusted if none matters", o.Setting)
	}
	return nil
}

// add puts a node below another one, unless it is nil.
func (n *node) add(key string, below *node) {
	if below == nil {
		return
	}
	if n.fields == nil {
		n.fields = map[string]*node{}
	}
	n.fields[key] = below
	n.needed = n.needed || below.needed
}

// hasTarget reports whether a field refers to a target that matches.
func (n *node) hasTarget(matches func(target) bool) bool {
	if n == nil {
		return false
	}
	if n.rule == ruleNames && matches(n.target) {
		return true
	}
	for _, t := range n.targets {
		if matches(t) {
			return true
		}
	}
	for _, below := range n.fields {
		if below.hasTarget(matches) {
			return true
		}
	}
	return n.items.hasTarget(matches) || n.values.hasTarget(matches)
}

// orNil returns the node, or nil if nothing is to be done with the field.
func (n *node) orNil() *node {
	if n.rule == noRule && n.fields == nil && n.items == nil && n.values == nil {
		return nil
	}
	return n
}
