package dns

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnsutil"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// outsideGuard is a plugin in front of the nameservers outside. They are the host's, which
// know the host's Services and pods. Names and addresses of these do not exist for a tenant.
type outsideGuard struct {
	next  plugin.Handler
	zones []string       // domains of the host's cluster, such as cluster.local.
	inner []netip.Prefix // addresses of the host's cluster, in addition to private ones
}

// Name implements plugin.Handler.
func (*outsideGuard) Name() string { return "outside" }

// ServeDNS implements plugin.Handler.
func (g *outsideGuard) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	if !g.mayPass(state.Name()) {
		return writeNoSuchName(w, r)
	}
	return plugin.NextOrFailure(g.Name(), g.next, ctx, &answerGuard{ResponseWriter: w, guard: g, query: r}, r)
}

// mayPass reports whether a name, in lower case, is one of the world outside. A reverse name
// is, if it is of one public address.
func (g *outsideGuard) mayPass(name string) bool {
	if g.isInHost(name) {
		return false
	}
	if !dns.IsSubDomain("in-addr.arpa.", name) && !dns.IsSubDomain("ip6.arpa.", name) {
		return true
	}
	address, err := netip.ParseAddr(dnsutil.ExtractAddressFromReverse(name))
	return err == nil && g.isPublic(address.Unmap())
}

// isPublic reports whether an address is none that networks use inside, and none of the
// host's cluster.
func (g *outsideGuard) isPublic(address netip.Addr) bool {
	return address.IsGlobalUnicast() && !address.IsPrivate() && !sharedAddresses().Contains(address) &&
		!slices.ContainsFunc(g.inner, func(p netip.Prefix) bool { return p.Contains(address) })
}

// sharedAddresses returns the range of RFC 6598. Some hosts give it to pods.
func sharedAddresses() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10) }

// isInHost reports whether a name is in a domain of the host's cluster.
func (g *outsideGuard) isInHost(name string) bool {
	return slices.ContainsFunc(g.zones, func(zone string) bool { return dns.IsSubDomain(zone, name) })
}

// isAboutHost reports whether a record is about the host's cluster. Every cluster has its
// Services below svc in its domain, which the address of a node may lead to.
func (g *outsideGuard) isAboutHost(record dns.RR) bool {
	if g.isInHost(strings.ToLower(record.Header().Name)) {
		return true
	}
	switch record := record.(type) {
	case *dns.PTR:
		target := strings.ToLower(record.Ptr)
		return g.isInHost(target) || strings.Contains(target, ".svc.") || strings.Contains(target, ".pod.")
	case *dns.CNAME:
		return g.isInHost(strings.ToLower(record.Target))
	case *dns.SRV:
		return g.isInHost(strings.ToLower(record.Target))
	}
	return false
}

// answerGuard replaces an answer that is about the host's cluster.
type answerGuard struct {
	dns.ResponseWriter
	guard *outsideGuard
	query *dns.Msg
}

// WriteMsg implements dns.ResponseWriter.
func (a *answerGuard) WriteMsg(answer *dns.Msg) error {
	if slices.ContainsFunc(slices.Concat(answer.Answer, answer.Ns, answer.Extra), a.guard.isAboutHost) {
		_, err := writeNoSuchName(a.ResponseWriter, a.query)
		return err
	}
	return a.ResponseWriter.WriteMsg(answer)
}

// writeNoSuchName answers that the name does not exist. A resolver then tries the next
// domain of its search list.
func writeNoSuchName(w dns.ResponseWriter, r *dns.Msg) (int, error) {
	answer := new(dns.Msg)
	answer.SetRcode(r, dns.RcodeNameError)
	return dns.RcodeNameError, w.WriteMsg(answer)
}

// hostZones returns the domains of the host's cluster: the usual one, and that of the search
// list. A kubelet of the host wrote the list into the file.
func hostZones(resolvConf string) []string {
	zones := []string{dns.Fqdn(defaultClusterDomain)}
	config, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		return zones
	}
	for _, domain := range config.Search {
		if zone, ok := strings.CutPrefix(dns.Fqdn(strings.ToLower(domain)), "svc."); ok && !slices.Contains(zones, zone) {
			zones = append(zones, zone)
		}
	}
	return zones
}
