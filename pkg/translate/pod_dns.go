package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// The API server rejects pods that exceed these limits.
const (
	maxNameservers = 3
	maxSearches    = 32
	// maxSearchLength is for all search domains joined with spaces.
	maxSearchLength = 2048
)

// setDNS configures the DNS of the virtual cluster for a pod that uses cluster DNS. It merges the
// tenant's dnsConfig as a kubelet does.
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
	config.Searches = appendUnique(config.Searches, in.NodeSearches, maxSearches)
	if own := spec.DNSConfig; own != nil {
		config.Nameservers = appendUnique(config.Nameservers, own.Nameservers, maxNameservers)
		config.Searches = appendUnique(config.Searches, own.Searches, maxSearches)
		config.Options = mergeOptions(config.Options, own.Options)
	}
	config.Searches = limitSearches(config.Searches)
	spec.DNSPolicy = corev1.DNSNone
	spec.DNSConfig = config
}

// limitSearches returns the first search domains, up to maxSearchLength. A kubelet truncates the
// list in the same way, but the host's API server would reject the pod.
func limitSearches(searches []string) []string {
	length := -1
	for i, domain := range searches {
		if length += 1 + len(domain); length > maxSearchLength {
			return searches[:i]
		}
	}
	return searches
}

// appendUnique returns the values of first and those of second that are not in it, up to limit.
func appendUnique(first, second []string, limit int) []string {
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
