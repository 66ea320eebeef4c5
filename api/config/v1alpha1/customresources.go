package v1alpha1

import (
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CustomResource are the settings of one kind of custom resources of the tenant.
type CustomResource struct {
	// Sync this kind.
	Enabled bool `json:"enabled"`
	// Fields that name or select other objects, in addition to those that the schema shows.
	References []Reference `json:"references,omitempty"`
	// Paths of the only fields that pass, with all that is below them, such as spec.size or spec.requests.cpu.
	// Those of references pass too. Every other field is refused. Empty passes all.
	AllowedFields []string `json:"allowedFields,omitempty" format:"field-path" unique:"true"`
	// Pass fields that look like references and have no rule, as they are.
	Trusted bool `json:"trusted,omitempty"`
	// Changes of the copies before they are written.
	Patches []Patch `json:"patches,omitempty"`
}

// HostCustomResource are the settings of one kind of custom resources of the host.
type HostCustomResource struct {
	// Sync this kind.
	Enabled bool `json:"enabled"`
	// Whether objects of the kind have a namespace. Empty means Cluster.
	Scope ResourceScope `json:"scope,omitempty" enum:"Cluster,Namespaced"`
	// Objects that the tenant sees, by labels. Empty selects all.
	Selector metav1.LabelSelector `json:"selector"`
	// Objects in namespaces that the tenant sees. Needs scope: Namespaced.
	Mappings CustomMappings `json:"mappings"`
	// Changes of the copies before they are written.
	Patches []Patch `json:"patches,omitempty"`
}

// CustomMappings lead from custom resources of the host to their copies.
type CustomMappings struct {
	// Copies in the virtual cluster by their objects on the host, as for configMaps.
	ByName map[string]string `json:"byName,omitempty" keys:"host-objects" values:"virtual-objects"`
}

// ResourceScope is whether objects of a kind have a namespace.
type ResourceScope string

// The scopes.
const (
	ClusterScope    ResourceScope = "Cluster"
	NamespacedScope ResourceScope = "Namespaced"
)

// IsNamespaced reports whether objects of the kind have a namespace.
func (r HostCustomResource) IsNamespaced() bool { return r.Scope == NamespacedScope }

// List returns the entries, those of single objects first. The settings are valid.
func (m CustomMappings) List() []Mapping { return Mappings(m).List() }

// SplitCustomResource splits the key of a kind of custom resources into the name of its
// definition and the version. The version is empty if the key has none.
func SplitCustomResource(key string) (definition, version string) {
	definition, version, _ = strings.Cut(key, "/")
	return definition, version
}

// HasCustomResources reports whether any kind of custom resources is synced.
func (s *Sync) HasCustomResources() bool {
	for _, r := range s.ToHost.CustomResources {
		if r.Enabled {
			return true
		}
	}
	for _, r := range s.FromHost.CustomResources {
		if r.Enabled {
			return true
		}
	}
	return false
}

// HasDefinition reports whether a definition, such as widgets.example.com, is on as a custom resource.
func (s *Sync) HasDefinition(name string) bool {
	return slices.ContainsFunc(s.customResourceKeys(), func(key string) bool {
		definition, _ := SplitCustomResource(key)
		return definition == name
	})
}

// customResourceKeys returns the keys of all kinds that are on, in both directions.
func (s *Sync) customResourceKeys() []string {
	var keys []string
	for key, r := range s.ToHost.CustomResources {
		if r.Enabled {
			keys = append(keys, key)
		}
	}
	for key, r := range s.FromHost.CustomResources {
		if r.Enabled {
			keys = append(keys, key)
		}
	}
	return keys
}

// customResourceCombinations returns the rules about kinds of custom resources.
func customResourceCombinations() []Combination {
	const fromHost = "sync.fromHost.customResources"
	anyOf := func(violated func(HostCustomResource) bool) func(*Config) bool {
		return func(c *Config) bool {
			return slices.ContainsFunc(slices.Collect(maps.Values(c.Sync.FromHost.CustomResources)), violated)
		}
	}
	return append(referenceCombinations(), []Combination{
		{
			Name: "custom-resource-twice", Path: "sync.toHost.customResources", With: []string{fromHost},
			Detail: "a kind is on twice: a definition goes in one direction and in one version; leave the other entry out",
			Violated: func(c *Config) bool {
				seen := map[string]bool{}
				for _, key := range c.Sync.customResourceKeys() {
					definition, _ := SplitCustomResource(key)
					if seen[definition] {
						return true
					}
					seen[definition] = true
				}
				return false
			},
		},
		{
			Name: "custom-resource-without-mappings", Path: fromHost,
			Detail: "a kind with scope: Namespaced has no mappings.byName, so the tenant would see nothing; name the objects there",
			Violated: anyOf(func(r HostCustomResource) bool {
				return r.Enabled && r.IsNamespaced() && len(r.Mappings.ByName) == 0
			}),
		},
		{
			Name: "custom-resource-without-namespace", Path: fromHost,
			Detail: "a kind has mappings.byName, but its objects have no namespace; set scope: Namespaced, or use the selector",
			Violated: anyOf(func(r HostCustomResource) bool {
				return r.Enabled && !r.IsNamespaced() && len(r.Mappings.ByName) > 0
			}),
		},
		{
			Name: "custom-resources-mapped-to-one", Path: fromHost,
			Detail: "a whole namespace cannot get the name of one object; end the value of a key that ends with /* with /* too",
			Violated: anyOf(func(r HostCustomResource) bool {
				return r.Enabled && Mappings(r.Mappings).namesOneForAll()
			}),
		},
	}...)
}
