package v1alpha1

// ReplicateServices are the Services that one of the two clusters has of the other.
type ReplicateServices struct {
	// Services of the virtual cluster that the host has under names of its own, such as
	// [{from: shop/web, to: shop-web}]. The copies are in the namespace of the release. They have the ports and
	// the pods of the originals, and addresses of their own. A Service without a selector has none.
	// Default: []
	ToHost []ServiceToHost `json:"toHost" unique:"true"`
	// Services of the host that the tenant sees, such as [{from: databases/main, to: shop/db}]. They have the
	// addresses and the endpoints of the originals, and the tenant cannot change them. The tenant's pods and
	// API server may reach these endpoints. Each namespace of the host gets a Role that allows to read just
	// these (needs get, list, watch on services and endpoints there).
	// Default: []
	FromHost []ServiceFromHost `json:"fromHost" unique:"true"`
}

// ServiceToHost is a Service of the virtual cluster with a copy that others of the host use.
type ServiceToHost struct {
	// From is the namespace and the name in the virtual cluster.
	From string `json:"from" format:"service-path"`
	// To is the name in the namespace of the release.
	To string `json:"to" format:"service-name"`
}

// ServiceFromHost is a Service of the host that the tenant sees.
type ServiceFromHost struct {
	// From is the namespace and the name on the host.
	From string `json:"from" format:"service-path"`
	// To is the namespace and the name in the virtual cluster.
	To string `json:"to" format:"service-path"`
}

// replicaCombinations returns the rules about replicated Services.
func replicaCombinations() []Combination {
	const path = "networking.replicateServices."
	return []Combination{
		{
			Name: "replicas-to-host-repeat", Path: path + "toHost",
			Detail: "each Service has one name, and each name one Service; leave out the entries that repeat one",
			Violated: func(c *Config) bool {
				var from, to []string
				for _, entry := range c.Networking.ReplicateServices.ToHost {
					from, to = append(from, entry.From), append(to, entry.To)
				}
				return repeats(from) || repeats(to)
			},
		},
		{
			Name: "replicas-from-host-repeat", Path: path + "fromHost",
			Detail: "each Service has one name, and each name one Service; leave out the entries that repeat one",
			Violated: func(c *Config) bool {
				var from, to []string
				for _, entry := range c.Networking.ReplicateServices.FromHost {
					from, to = append(from, entry.From), append(to, entry.To)
				}
				return repeats(from) || repeats(to)
			},
		},
		{
			Name: "replicas-without-services", Path: path + "toHost", With: []string{"sync.toHost.services.enabled"},
			Detail: "sync.toHost.services.enabled is false, so the host has no Services of the tenant; set that to true, or leave the entries out",
			Violated: func(c *Config) bool {
				return len(c.Networking.ReplicateServices.ToHost) > 0 && !c.Sync.IsEnabled("sync.toHost.services")
			},
		},
		{
			Name: "replicas-from-host-without-services", Path: path + "fromHost", With: []string{"sync.toHost.services.enabled"},
			Detail: "sync.toHost.services.enabled is false, which switches off the copies too; set that to true, or leave the entries out",
			Violated: func(c *Config) bool {
				return len(c.Networking.ReplicateServices.FromHost) > 0 && !c.Sync.IsEnabled("sync.toHost.services")
			},
		},
	}
}

// repeats reports whether a value is in a list twice.
func repeats(values []string) bool {
	seen := map[string]bool{}
	for _, value := range values {
		if seen[value] {
			return true
		}
		seen[value] = true
	}
	return false
}
