package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	defaultClusterDomain = "cluster.local"
	defaultResolvConf    = "/etc/resolv.conf"
	// defaultQueriesPerSecond is more than a busy pod asks.
	defaultQueriesPerSecond = 1000
)

// setDefaults sets what is not set, but for the nameservers.
func (o *Options) setDefaults() {
	if o.ClusterDomain == "" {
		o.ClusterDomain = defaultClusterDomain
	}
	if o.Address == "" {
		o.Address = defaultAddress
	}
	if o.ResolvConf == "" {
		o.ResolvConf = defaultResolvConf
	}
	if o.QueriesPerSecond == 0 {
		o.QueriesPerSecond = defaultQueriesPerSecond
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	o.ClusterDomain = strings.TrimSuffix(o.ClusterDomain, ".")
}

// complete sets the defaults and validates the rest. Valid options are safe in the
// text of a Corefile.
func (o *Options) complete() error {
	if o.Virtual == nil {
		return errors.New("no configuration of the virtual cluster given")
	}
	o.setDefaults()
	if problems := validation.IsDNS1123Subdomain(o.ClusterDomain); len(problems) > 0 {
		return fmt.Errorf("cluster domain %q: %s", o.ClusterDomain, strings.Join(problems, "; "))
	}
	for domain, server := range o.Forward {
		if problems := validation.IsDNS1123Subdomain(domain); len(problems) > 0 || !isNameserver(server) {
			return fmt.Errorf("nameserver %q of domain %q: want a domain, and an IP address with or without port", server, domain)
		}
	}
	for _, upstream := range o.Upstreams {
		if !isNameserver(upstream) {
			return fmt.Errorf("nameserver %q: want an IP address, or an IP address and a port", upstream)
		}
	}
	if len(o.Upstreams) == 0 {
		o.Upstreams = readNameservers(o.ResolvConf)
	}
	return nil
}

// isNameserver reports whether s is the address of a nameserver, with or without port.
func isNameserver(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	_, err := netip.ParseAddrPort(s)
	return err == nil
}

// readNameservers returns the nameservers of a resolv.conf file. A file without any is
// no error: names of the cluster can be resolved without them.
func readNameservers(path string) []string {
	var found []string
	config, err := dns.ClientConfigFromFile(path)
	if err == nil {
		for _, server := range config.Servers {
			if isNameserver(server) {
				found = append(found, server)
			}
		}
	}
	if len(found) == 0 {
		klog.Background().Info("No nameserver found, only names of the cluster can be resolved", "file", path, "err", err)
	}
	return found
}
