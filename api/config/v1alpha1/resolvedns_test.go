package v1alpha1

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFixedNames(t *testing.T) {
	t.Parallel()
	networking := Networking{Advanced: NetworkingAdvanced{ClusterDomain: "shop.local", DNS: DNS{
		Hosts:   map[string]string{"db.example.com": "192.0.2.7", "old.example.com": "192.0.2.6"},
		Rewrite: map[string]string{"a.example.com": "b.example.com", "mail.example.com": "mx.example.com"},
	}}}
	networking.ResolveDNS = []DNSRule{
		{Hostname: "mail.example.com", Target: DNSTarget{IP: "192.0.2.8"}},
		{Hostname: "front.example.com", Target: DNSTarget{VClusterService: "shop/front"}},
		{Service: "shop/db", Target: DNSTarget{Hostname: "db.example.org"}},
		{Service: "shop/six", Target: DNSTarget{IP: "fd00::7"}},
		{Hostname: "old.example.com", Target: DNSTarget{Hostname: "new.example.com"}},
	}
	hosts, rewrite := networking.FixedNames()
	if diff := cmp.Diff(map[string]string{
		"db.example.com": "192.0.2.7", "mail.example.com": "192.0.2.8", "six.shop.svc.shop.local": "fd00::7",
	}, hosts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{
		"a.example.com": "b.example.com", "front.example.com": "front.shop.svc.shop.local", "db.shop.svc.shop.local": "db.example.org",
		"old.example.com": "new.example.com",
	}, rewrite); diff != "" {
		t.Error(diff)
	}
	if len(networking.Advanced.DNS.Hosts) != 2 || len(networking.Advanced.DNS.Rewrite) != 2 {
		t.Error("the settings were changed")
	}
}

func TestDNSRules(t *testing.T) {
	t.Parallel()
	ip := DNSTarget{IP: "192.0.2.8"}
	for reason, c := range map[string]struct {
		rule DNSRule
		want bool
	}{
		"a name has an address":    {DNSRule{Hostname: "a.example", Target: ip}, true},
		"a Service has an address": {DNSRule{Service: "shop/a", Target: ip}, true},
		"nothing is asked for":     {DNSRule{Target: ip}, false},
		"two names are asked for":  {DNSRule{Hostname: "a.example", Service: "shop/a", Target: ip}, false},
		"there is no answer":       {DNSRule{Hostname: "a.example"}, false},
		"there are two answers":    {DNSRule{Hostname: "a.example", Target: DNSTarget{IP: "192.0.2.8", Hostname: "b.example"}}, false},
	} {
		config := Default()
		config.Networking.ResolveDNS = []DNSRule{c.rule}
		if got := !dnsCombinations()[0].Violated(config); got != c.want {
			t.Errorf("%s: accepted %t, want %t", reason, got, c.want)
		}
	}
}
