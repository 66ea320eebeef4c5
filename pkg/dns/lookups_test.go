package dns

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
)

// TestNameLeadsToItself asks for a Service of a tenant that is an external name, which a rule of the
// operator answers like the Service. Each question must get an answer, and the server must live.
func TestNameLeadsToItself(t *testing.T) {
	t.Parallel()
	s, _ := startServer(t, Options{
		Virtual:    newFakeAPI(t, newNamespace("shop"), newExternal("shop", "db", "db.example.com"), newService("shop", "front", "10.96.3.4")).config(),
		ResolvConf: filepath.Join(t.TempDir(), "none"),
		Rewrite:    map[string]string{"db.example.com": "db.shop.svc.cluster.local"},
	})
	awaitReady(t, s)
	for _, name := range []string{"db.shop.svc.cluster.local.", "db.example.com."} {
		for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV} {
			got := lookup(t, s.Addr(), "udp", name, kind)
			for _, record := range got.Records {
				if strings.Contains(record, " A ") || strings.Contains(record, " AAAA ") {
					t.Errorf("%s has an address: %s", name, record)
				}
			}
		}
	}
	if got := lookup(t, s.Addr(), "udp", "front.shop.svc.cluster.local.", dns.TypeA); len(got.Records) != 1 {
		t.Errorf("other names have no answer any more: %v", got)
	}
}

// TestFollowUpIsNoQuery counts the queries of a client. A name to which one of them leads is none.
func TestFollowUpIsNoQuery(t *testing.T) {
	t.Parallel()
	c, pods, _ := newAsked(t, Options{QueriesPerSecond: 1})
	pods.OnAdd(newPod("web", corev1.PodRunning, "10.1.0.5"), true)
	client := asker{remote: net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.1.0.5:40000"))}
	chain := &lookups{plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		code, err := c.ServeDNS(ctx, w, r)
		if err != nil || dns.RcodeToString[code] != answered {
			return code, err
		}
		further := r.Copy()
		further.Question[0].Name = "mx.example.org."
		return (&lookups{c}).ServeDNS(ctx, w, further)
	})}
	query := new(dns.Msg)
	query.SetQuestion("mail.shop.svc.cluster.local.", dns.TypeA)
	for i, want := range []string{answered, answered, dropped} {
		code, err := chain.ServeDNS(t.Context(), client, query)
		if got := dns.RcodeToString[code]; err != nil || got != want {
			t.Errorf("query %d of a client that may ask twice at once: %s, %v, want %s", i+1, got, err, want)
		}
	}
}
