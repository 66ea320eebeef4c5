package v1alpha1

import (
	"maps"
	"strings"
)

// DNSRule answers one name in the DNS of the virtual cluster like another name, or with an
// address. It has either a hostname or a service.
type DNSRule struct {
	// Hostname is the name that is asked for.
	Hostname string `json:"hostname,omitempty" format:"dns-domain,optional"`
	// Service is the namespace and the name of a Service whose name is asked for.
	Service string `json:"service,omitempty" format:"service-path,optional"`
	// Target is what the answer is.
	Target DNSTarget `json:"target"`
}

// DNSTarget is the answer of a [DNSRule]. It has one of its fields.
type DNSTarget struct {
	// Hostname is a name of the virtual cluster or outside.
	Hostname string `json:"hostname,omitempty" format:"dns-domain,optional"`
	// IP is an address.
	IP string `json:"ip,omitempty" format:"ip,optional"`
	// VClusterService is the namespace and the name of a Service of the virtual cluster.
	VClusterService string `json:"vClusterService,omitempty" format:"service-path,optional"`
}

// FixedNames returns the names with a fixed address, and those that are answered like others.
// They are those of the rules, and of networking.advanced.dns.
func (n *Networking) FixedNames() (hosts, rewrite map[string]string) {
	hosts, rewrite = map[string]string{}, map[string]string{}
	maps.Copy(hosts, n.Advanced.DNS.Hosts)
	maps.Copy(rewrite, n.Advanced.DNS.Rewrite)
	for _, rule := range n.ResolveDNS {
		name := rule.Hostname
		if rule.Service != "" {
			name = n.serviceDomain(rule.Service)
		}
		delete(hosts, name)
		delete(rewrite, name)
		switch {
		case rule.Target.IP != "":
			hosts[name] = rule.Target.IP
		case rule.Target.VClusterService != "":
			rewrite[name] = n.serviceDomain(rule.Target.VClusterService)
		default:
			rewrite[name] = rule.Target.Hostname
		}
	}
	return hosts, rewrite
}

// serviceDomain returns the name of a Service in DNS.
func (n *Networking) serviceDomain(path string) string {
	namespace, name, _ := strings.Cut(path, "/")
	return name + "." + namespace + ".svc." + n.Advanced.ClusterDomain
}

// isComplete reports whether a rule has one name and one answer.
func (r DNSRule) isComplete() bool {
	return countSet(r.Hostname, r.Service) == 1 && countSet(r.Target.Hostname, r.Target.IP, r.Target.VClusterService) == 1
}

// countSet returns how many texts are not empty.
func countSet(texts ...string) int {
	count := 0
	for _, text := range texts {
		if text != "" {
			count++
		}
	}
	return count
}

// dnsCombinations returns the rules about names in DNS.
func dnsCombinations() []Combination {
	return []Combination{{
		Name: "dns-rule-incomplete", Path: "networking.resolveDNS",
		Detail: "each entry needs hostname or service, and a target with one of hostname, ip and vClusterService; " +
			"complete it, or leave out what is too much",
		Violated: func(c *Config) bool {
			for _, rule := range c.Networking.ResolveDNS {
				if !rule.isComplete() {
					return true
				}
			}
			return false
		},
	}}
}
