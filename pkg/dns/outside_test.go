package dns

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestHostNamesDoNotExist(t *testing.T) {
	t.Parallel()
	resolvConf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolvConf, []byte("search shop.svc.host.example svc.host.example host.example corp.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	outside := startHostDNS(t)
	s, _ := startServer(t, Options{
		Virtual: newShop(t).config(), ClusterDomain: "tenant.example", Upstreams: []string{outside}, ResolvConf: resolvConf,
		HostRanges: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
	})
	awaitReady(t, s)
	gone := answer{Code: "NXDOMAIN"}
	cases := map[string]struct {
		reason string
		name   string
		kind   uint16
		want   answer
	}{
		"HostService":     {"names of the host's Services are in its search list", "api.prod.svc.host.example.", dns.TypeA, gone},
		"HostServiceCase": {"names have no case", "api.prod.SVC.Host.Example.", dns.TypeA, gone},
		"HostDomain":      {"nothing below the domain is the tenant's", "host.example.", dns.TypeNS, gone},
		"UsualDomain":     {"the host may have a second domain, and this is the usual one", "api.prod.svc.cluster.local.", dns.TypeA, gone},
		"HostPod":         {"pods of the host have names too", "10-0-0-1.prod.pod.cluster.local.", dns.TypeA, gone},
		"Alias":           {"an alias in the world outside leads nowhere", "alias.example.org.", dns.TypeA, gone},
		"PTRPrivate":      {"a private address may be a Service of the host", "9.0.96.10.in-addr.arpa.", dns.TypePTR, gone},
		"PTRShared":       {"some hosts number pods in this range", "1.0.64.100.in-addr.arpa.", dns.TypePTR, gone},
		"PTRLinkLocal":    {"the metadata of clouds is in this range", "254.169.254.169.in-addr.arpa.", dns.TypePTR, gone},
		"PTRService":      {"the range of Services need not be private", "1.100.51.198.in-addr.arpa.", dns.TypePTR, gone},
		"PTRUnique":       {"the same in IPv6", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR, gone},
		"PTRMapped":       {"a private address in the form of IPv6", "9.0.0.0.0.6.a.0.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.", dns.TypePTR, gone},
		"PTRPart":         {"a part of an address leads to zones of the host", "96.10.in-addr.arpa.", dns.TypeNS, gone},
		"PTRPublicPod":    {"a node with a public address may have pods with names", "7.113.0.203.in-addr.arpa.", dns.TypePTR, gone},
		"PTRPublic": {"public addresses have public names", "1.2.0.192.in-addr.arpa.", dns.TypePTR,
			answer{Code: "NOERROR", Records: []string{"1.2.0.192.in-addr.arpa. PTR outside.example.org."}}},
		"Corporate": {"the search list has other domains", "www.corp.example.", dns.TypeA,
			answer{Code: "NOERROR", Records: []string{"www.corp.example. A 192.0.2.1"}}},
		"Own": {"the tenant's own names are not the host's", "front.shop.svc.tenant.example.", dns.TypeA,
			answer{Code: "NOERROR", Records: []string{"front.shop.svc.tenant.example. A 10.96.3.4"}}},
		"OwnAddress": {"the tenant's own addresses have names", "4.3.96.10.in-addr.arpa.", dns.TypePTR,
			answer{Code: "NOERROR", Records: []string{"4.3.96.10.in-addr.arpa. PTR front.shop.svc.tenant.example."}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, lookup(t, s.Addr(), "udp", tc.name, tc.kind)); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// startHostDNS starts the nameserver of a host that knows every name and every address.
func startHostDNS(t *testing.T) string {
	t.Helper()
	return serveDNS(t, func(w dns.ResponseWriter, r *dns.Msg) {
		reply := new(dns.Msg)
		reply.SetReply(r)
		name := r.Question[0].Name
		text := name + " 300 IN A 192.0.2.1"
		switch {
		case name == "alias.example.org.":
			text = name + " 300 IN CNAME api.prod.svc.host.example."
		case name == "1.2.0.192.in-addr.arpa.":
			text = name + " 300 IN PTR outside.example.org."
		case dns.IsSubDomain("arpa.", name):
			text = name + " 300 IN PTR api.prod.svc.another.example."
		case r.Question[0].Qtype == dns.TypeNS:
			text = name + " 300 IN NS ns.example.org."
		}
		record, err := dns.NewRR(text)
		if err == nil {
			reply.Answer = append(reply.Answer, record)
		}
		_ = w.WriteMsg(reply)
	})
}
