package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// The API server refuses more name servers and search domains than these.
const (
	maxNameservers = 3
	maxSearches    = 32
	// maxSearchLength is the length of all search domains together, with a space between them.
	maxSearchLength = 2048
)

// setDNS points the pod at the DNS of the virtual cluster wherever a kubelet would point
// it at the cluster's. It merges the tenant's own dnsConfig as a kubelet would.
func setDNS(in PodInput, namespace string, spec *corev1.PodSpec) {
	cluster := spec.DNSPolicy == corev1.DNSClusterFirstWithHostNet ||
		!spec.HostNetwork && (spec.DNSPolicy == corev1.DNSClusterFirst || spec.DNSPolicy == "")
	if !cluster {
		return
	}
	config := &corev1.PodDNSConfig{
		Nameservers: []string{in.DNSServiceIP},
		Searches:    []string{namespace + ".svc." + in.ClusterDomain, "svc." + in.ClusterDomain, in.ClusterDomain},
		Options:     []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("5")}},
	}
	config.Searches = union(config.Searches, in.NodeSearches, maxSearches)
	if own := spec.DNSConfig; own != nil {
		config.Nameservers = union(config.Nameservers, own.Nameservers, maxNameservers)
		config.Searches = union(config.Searches, own.Searches, maxSearches)
		config.Options = mergeOptions(config.Options, own.Options)
	}
	config.Searches = fitSearches(config.Searches)
	spec.DNSPolicy = corev1.DNSNone
	spec.DNSConfig = config
}

// fitSearches returns the first search domains, as many as are not too long together. A kubelet
// leaves out the rest too. The API server of the host would refuse the pod.
func fitSearches(searches []string) []string {
	length := -1
	for i, domain := range searches {
		if length += 1 + len(domain); length > maxSearchLength {
			return searches[:i]
		}
	}
	return searches
}

// union returns the first limit different values of first and then second.
func union(first, second []string, limit int) []string {
	values := slices.Clone(first)
	for _, value := range second {
		if len(values) < limit && !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	return values
}

// mergeOptions returns base with the tenant's options, which win by name.
func mergeOptions(base, own []corev1.PodDNSConfigOption) []corev1.PodDNSConfigOption {
	merged := slices.Clone(base)
	for _, option := range own {
		same := func(o corev1.PodDNSConfigOption) bool { return o.Name == option.Name }
		if i := slices.IndexFunc(merged, same); i >= 0 {
			merged[i] = option
		} else {
			merged = append(merged, option)
		}
	}
	return merged
}
