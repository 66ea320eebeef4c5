package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/klog/v2"
)

const (
	defaultClusterDomain = "cluster.local"
	defaultResolvConf    = "/etc/resolv.conf"
)

// complete fills in the defaults and checks the rest. What passes can stand in
// the text of a Corefile and mean nothing else there.
func (o *Options) complete() error {
	if o.Virtual == nil {
		return errors.New("no configuration of the virtual cluster given")
	}
	if o.ClusterDomain == "" {
		o.ClusterDomain = defaultClusterDomain
	}
	if o.Address == "" {
		o.Address = defaultAddress
	}
	if o.ResolvConf == "" {
		o.ResolvConf = defaultResolvConf
	}
	o.ClusterDomain = strings.TrimSuffix(o.ClusterDomain, ".")
	if problems := validation.IsDNS1123Subdomain(o.ClusterDomain); len(problems) > 0 {
		return fmt.Errorf("cluster domain %q: %s", o.ClusterDomain, strings.Join(problems, "; "))
	}
	for _, upstream := range o.Upstreams {
		if !isNameserver(upstream) {
			return fmt.Errorf("nameserver %q: want an IP address, or an IP address and a port", upstream)
		}
	}
	if len(o.Upstreams) == 0 {
		o.Upstreams = nameservers(o.ResolvConf)
	}
	return nil
}

// isNameserver reports whether s is an address of a nameserver.
func isNameserver(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	_, err := netip.ParseAddrPort(s)
	return err == nil
}

// nameservers are those that the file names. A cluster without an outside is
// better than none, so a file that names none is no error.
func nameservers(path string) []string {
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
		klog.Background().Info("No nameserver outside the cluster is known: only names of the cluster can be resolved", "file", path, "err", err)
	}
	return found
}
