package v1alpha1

import (
	"maps"
	"slices"
	"strings"
)

// Mapped are the settings of a kind of the host of which the tenant sees objects by name.
type Mapped struct {
	// Objects that the tenant sees.
	Mappings Mappings `json:"mappings"`
}

// Mappings lead from objects of the host to their copies.
type Mappings struct {
	// Copies in the virtual cluster by their objects on the host, such as {"shared/ca": "shop/ca"}.
	// {"shared/*": "shop/*"} maps a whole namespace, and {"/ca": "shop/ca"} an object in the namespace of
	// the release. A name wins over a whole namespace. Namespaces of copies are created. Each namespace of
	// the host gets a Role that allows to read just these. Unlike in vCluster, the key "" is not possible.
	// Default: {}
	ByName map[string]string `json:"byName" keys:"host-objects" values:"virtual-objects"`
}

// Mapping is one entry of [Mappings].
type Mapping struct {
	// HostNamespace and HostName are the object on the host. An empty namespace is that of
	// the release. An empty name means all objects.
	HostNamespace, HostName string
	// Namespace and Name are the copy. An empty name is that of the original.
	Namespace, Name string
}

// List returns the entries, those of single objects first. The settings are valid.
func (m Mappings) List() []Mapping {
	var single, whole []Mapping
	for _, from := range slices.Sorted(maps.Keys(m.ByName)) {
		var e Mapping
		e.HostNamespace, e.HostName, _ = strings.Cut(from, "/")
		e.Namespace, e.Name, _ = strings.Cut(m.ByName[from], "/")
		if e.Name == "*" {
			e.Name = ""
		}
		if e.HostName == "*" {
			e.HostName = ""
			whole = append(whole, e)
			continue
		}
		single = append(single, e)
	}
	return append(single, whole...)
}

// namesOneForAll reports whether an entry gives all objects of a namespace one name.
func (m Mappings) namesOneForAll() bool {
	return slices.ContainsFunc(m.List(), func(e Mapping) bool { return e.HostName == "" && e.Name != "" })
}

// mappingCombinations returns the rules about entries of mappings.
func mappingCombinations() []Combination {
	rule := func(name, kind string, mappings func(*Config) Mappings) Combination {
		return Combination{
			Name: name, Path: "sync.fromHost." + kind + ".mappings.byName",
			Detail:   "a whole namespace cannot get the name of one object; end the value of a key that ends with /* with /* too",
			Violated: func(c *Config) bool { return mappings(c).namesOneForAll() },
		}
	}
	return []Combination{
		rule("configmaps-mapped-to-one", "configMaps", func(c *Config) Mappings { return c.Sync.FromHost.ConfigMaps.Mappings }),
		rule("secrets-mapped-to-one", "secrets", func(c *Config) Mappings { return c.Sync.FromHost.Secrets.Mappings }),
	}
}
