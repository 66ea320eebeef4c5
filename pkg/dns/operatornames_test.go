package dns

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// TestOperatorNames looks up what an operator has set, and what the settings must not open.
func TestOperatorNames(t *testing.T) {
	t.Parallel()
	outside, _ := startUpstream(t)
	corporate, branch := serveAddress(t, "10.20.30.40"), serveAddress(t, "10.20.30.50")
	s, _ := startServer(t, Options{
		Virtual: newShop(t).config(), Upstreams: []string{outside}, ResolvConf: filepath.Join(t.TempDir(), "none"),
		ClusterDomain: "shop.local",
		Hosts:         map[string]string{"db.example.com": "192.0.2.7", "six.example.com": "fd00::7", "www.example.org": "192.0.2.8"},
		Rewrite: map[string]string{
			"front.example.com": "front.shop.svc.shop.local",
			"mail.example.com":  "mx.example.org", "leak.example.com": "web.other.svc.cluster.local",
			"alias.example.com": "DB.example.com", "second.example.com": "first.example.com", "first.example.com": "front.shop.svc.shop.local",
			"round.example.com": "trip.example.com", "trip.example.com": "round.example.com",
		},
		Forward: map[string]string{"corp.example": corporate, "west.corp.example": branch, "example": "192.0.2.53"},
	})
	awaitReady(t, s)
	for name, tc := range map[string]struct {
		reason, name string
		kind         uint16
		want         answer
	}{
		"Host":         {"a fixed address", "db.example.com.", dns.TypeA, answer{Code: "NOERROR", Records: []string{"db.example.com. A 192.0.2.7"}}},
		"HostCase":     {"names have no case", "DB.example.com.", dns.TypeA, answer{Code: "NOERROR", Records: []string{"DB.example.com. A 192.0.2.7"}}},
		"HostOther":    {"it exists in the other family", "db.example.com.", dns.TypeAAAA, answer{Code: "NOERROR"}},
		"HostSix":      {"an address of IPv6", "six.example.com.", dns.TypeAAAA, answer{Code: "NOERROR", Records: []string{"six.example.com. AAAA fd00::7"}}},
		"HostOutside":  {"it replaces a name outside", "www.example.org.", dns.TypeA, answer{Code: "NOERROR", Records: []string{"www.example.org. A 192.0.2.8"}}},
		"HostBelow":    {"names below are not set", "a.db.example.com.", dns.TypeA, answer{Code: "NXDOMAIN"}},
		"Service":      {"a Service under another name", "front.example.com.", dns.TypeA, answer{Code: "NOERROR", Records: []string{"front.example.com. A 10.96.3.4"}}},
		"Outside":      {"a name outside under another name", "mail.example.com.", dns.TypeA, answer{Code: "NOERROR", Records: []string{"mail.example.com. A 192.0.2.1"}}},
		"HostsService": {"a name of the host's cluster stays hidden", "leak.example.com.", dns.TypeA, answer{Code: "NXDOMAIN"}},
		"ToHost":       {"a fixed address under another name", "alias.example.com.", dns.TypeA, answer{Code: "NOERROR", Records: []string{"alias.example.com. A 192.0.2.7"}}},
		"TwoRules":     {"one rule after another", "second.example.com.", dns.TypeA, answer{Code: "NOERROR", Records: []string{"second.example.com. A 10.96.3.4"}}},
		"Circle":       {"rules without an end change nothing", "round.example.com.", dns.TypeA, answer{Code: "NXDOMAIN"}},
		"ForwardBelow": {"a domain in another one has its own nameserver", "git.west.corp.example.", dns.TypeA, answer{Code: "NOERROR", Records: []string{"git.west.corp.example. A 10.20.30.50"}}},
		"Forward":      {"a domain with a nameserver of its own", "git.corp.example.", dns.TypeA, answer{Code: "NOERROR", Records: []string{"git.corp.example. A 10.20.30.40"}}},
		"NotForward":   {"a domain that only ends alike", "othercorp.examples.", dns.TypeA, answer{Code: "NXDOMAIN"}},
		"Unset":        {"all other names are as before", "front.shop.svc.shop.local.", dns.TypeA, answer{Code: "NOERROR", Records: []string{"front.shop.svc.shop.local. A 10.96.3.4"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 2 { // The second answer may come from a cache.
				if diff := cmp.Diff(tc.want, lookup(t, s.Addr(), "udp", tc.name, tc.kind)); diff != "" {
					t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
				}
			}
		})
	}
}

// serveAddress starts a nameserver that knows one address for all names.
func serveAddress(t *testing.T, ip string) string {
	t.Helper()
	return serveDNS(t, func(w dns.ResponseWriter, r *dns.Msg) {
		reply := new(dns.Msg)
		reply.SetReply(r)
		record, _ := dns.NewRR(r.Question[0].Name + " 300 IN A " + ip)
		reply.Answer = append(reply.Answer, record)
		_ = w.WriteMsg(reply)
	})
}

func TestBadForward(t *testing.T) {
	t.Parallel()
	for domain, server := range map[string]string{"a {\n}": "192.0.2.1", "corp.example": "192.0.2.1 {\n}"} {
		options := Options{Virtual: newShop(t).config(), Forward: map[string]string{domain: server}}
		if err := options.complete(); err == nil || !strings.Contains(err.Error(), "nameserver") {
			t.Errorf("%q, %q must not bring words of their own into the Corefile: %v", domain, server, err)
		}
	}
}
