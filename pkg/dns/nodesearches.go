package dns

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/klog/v2"
)

// NodeSearches returns the search domains of this node, in their order. A kubelet of the host
// wrote them into the file behind those of the host's cluster, which are left out. An empty
// path is that of the container. Without the file there are none.
func NodeSearches(resolvConf string) []string {
	if resolvConf == "" {
		resolvConf = defaultResolvConf
	}
	config, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		klog.Background().Info("Pods get no search domains of nodes", "file", resolvConf, "err", err)
		return nil
	}
	guard := outsideGuard{zones: hostZones(resolvConf)}
	return slices.DeleteFunc(config.Search, func(domain string) bool {
		name := strings.ToLower(dns.Fqdn(domain))
		// The API server refuses a pod with any other name.
		return guard.isInHost(name) || len(validation.IsDNS1123Subdomain(strings.TrimSuffix(domain, "."))) > 0
	})
}
