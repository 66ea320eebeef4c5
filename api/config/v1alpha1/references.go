package v1alpha1

import (
	"maps"
	"slices"
	"strings"
)

// Reference declares what is in one field of custom resources.
type Reference struct {
	// Path of the field, such as spec.tls[*].secretName.
	Path string `json:"path" format:"field-path"`
	// What the field names. Resources are plural, such as secrets or issuers.cert-manager.io. Those of the host
	// keep their name. labelSelector and labels select objects of the same namespace, and namespace is its name.
	// object is an object with kind and name, and hostname a host name that policies.ingresses.hosts allows.
	// image is an image that policies.images allows, and gracePeriod has at most policies.pods.maxGracePeriodSeconds.
	// podMetadata is the metadata of pods that the host makes, which get the label of the release. empty means that the field must be left out. none is no reference.
	To string `json:"to" format:"reference-target"`
	// Resources by the kinds that a field with to: object may have, such as {Issuer: issuers.cert-manager.io}.
	Kinds map[string]string `json:"kinds,omitempty" keys:"object-kind" values:"resource"`
	// Kind that an object without one has. Needs to: object.
	Kind string `json:"kind,omitempty" format:"object-kind,optional"`
	// Values that pass as they are, such as names of objects of the host that the tenant does not see.
	Names []string `json:"names,omitempty" unique:"true"`
	// The host writes the object that the field names, and its copy in the virtual cluster belongs to the object
	// that names it. Needs to: secrets.
	Produced bool `json:"produced,omitempty"`
	// Allow a selector or a host name to be left out, and any field to be missing in the schema of the host.
	Optional bool `json:"optional,omitempty"`
}

// The targets of references that are no resources.
const (
	// ToLabelSelector is a selector with matchLabels and matchExpressions.
	ToLabelSelector = "labelSelector"
	// ToLabels is a map of labels that select objects.
	ToLabels = "labels"
	// ToNamespace is the name of the namespace of the object itself.
	ToNamespace = "namespace"
	// ToObject is an object with kind and name, and maybe a group and a namespace.
	ToObject = "object"
	// ToHostname is a host name.
	ToHostname = "hostname"
	// ToImage is an image that a container runs.
	ToImage = "image"
	// ToGracePeriod is how many seconds a pod may take to end.
	ToGracePeriod = "gracePeriod"
	// ToPodMetadata is the metadata of the pods that a controller of the host makes.
	ToPodMetadata = "podMetadata"
	// ToEmpty is a field that must be left out.
	ToEmpty = "empty"
	// ToNone is no reference.
	ToNone = "none"
)

// HostClasses returns the resources of the host without a namespace that a rule can name without
// an entry of their own. A name passes only if the rule has it.
func HostClasses() []string {
	return []string{"ingressclasses", "priorityclasses", "runtimeclasses", "storageclasses"}
}

// referenceCombinations returns the rules about references of custom resources.
func referenceCombinations() []Combination {
	const path = "sync.toHost.customResources"
	anyOf := func(violated func(Reference) bool) func(*Config) bool {
		return func(c *Config) bool {
			return slices.ContainsFunc(slices.Collect(maps.Values(c.Sync.ToHost.CustomResources)), func(r CustomResource) bool {
				return slices.ContainsFunc(r.References, violated)
			})
		}
	}
	return []Combination{
		{
			Name: "custom-resource-incomplete", Path: path,
			Detail:   "an entry of references lacks a key; each has a path, and what the field names under to",
			Violated: anyOf(func(r Reference) bool { return r.Path == "" || r.To == "" }),
		},
		{
			Name: "custom-resource-field", Path: path,
			Detail: "a path of references or allowedFields begins with apiVersion, kind, metadata or status, which Sublet itself writes; leave it out",
			Violated: func(c *Config) bool {
				return slices.ContainsFunc(slices.Collect(maps.Values(c.Sync.ToHost.CustomResources)), func(r CustomResource) bool {
					return slices.ContainsFunc(r.AllowedFields, isOfEveryObject) ||
						slices.ContainsFunc(r.References, func(r Reference) bool { return isOfEveryObject(r.Path) })
				})
			},
		},
		{
			Name: "reference-kinds", Path: path,
			Detail: "a reference with to: object has kinds, and others have neither kinds nor kind; kind must be a key of kinds",
			Violated: anyOf(func(r Reference) bool {
				_, known := r.Kinds[r.Kind]
				return (r.To == ToObject) != (len(r.Kinds) > 0) || r.Kind != "" && !known
			}),
		},
		{
			Name: "reference-names", Path: path,
			Detail: "a reference has names where no value could pass as it is; leave names out with secrets, configmaps, labels, labelSelector, image, gracePeriod, podMetadata, empty and none",
			Violated: anyOf(func(r Reference) bool {
				return len(r.Names) > 0 && slices.Contains([]string{"secrets", "configmaps", ToLabels, ToLabelSelector, ToImage, ToGracePeriod, ToPodMetadata, ToEmpty, ToNone}, r.To)
			}),
		},
		{
			Name: "reference-pod-metadata-optional", Path: path,
			Detail:   "a reference with to: podMetadata has optional: true, but pods without the label of the release are in no network policy; leave optional out",
			Violated: anyOf(func(r Reference) bool { return r.Optional && r.To == ToPodMetadata }),
		},
		{
			Name: "reference-produced", Path: path,
			Detail:   "a reference has produced: true, but only Secrets come back from the host; set to: secrets, or leave produced out",
			Violated: anyOf(func(r Reference) bool { return r.Produced && r.To != "secrets" }),
		},
		{
			Name: "reference-class-without-names", Path: path,
			Detail:   "a reference to classes of the host has no names, so every value would be refused; list those that the tenant may use",
			Violated: anyOf(func(r Reference) bool { return slices.Contains(HostClasses(), r.To) && len(r.Names) == 0 }),
		},
	}
}

// isOfEveryObject reports whether a path begins with a field that every object has. Sublet writes these.
func isOfEveryObject(path string) bool {
	first, _, _ := strings.Cut(path, ".")
	return slices.Contains([]string{"apiVersion", "kind", "metadata", "status"}, first)
}

// HostKey returns the key of the host object that has a copy under a virtual key, by the first
// entry that fits. An empty namespace is that of the release.
func (m CustomMappings) HostKey(namespace, name string) (hostNamespace, hostName string, ok bool) {
	for _, e := range m.List() {
		switch {
		case e.Namespace != namespace:
		case e.HostName == "":
			return e.HostNamespace, name, true
		case e.Name == name || e.Name == "" && e.HostName == name:
			return e.HostNamespace, e.HostName, true
		}
	}
	return "", "", false
}

// IsCustom reports whether a resource is one of custom resources.
func IsCustom(resource string) bool { return strings.Contains(resource, ".") }
