package dns

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
)

func TestLookup(t *testing.T) {
	t.Parallel()
	outside, _ := startUpstream(t)
	s, _ := startServer(t, Options{Virtual: newShop(t).config(), Upstreams: []string{outside}})
	awaitReady(t, s)

	cases := map[string]struct {
		reason string
		name   string
		kind   uint16
		want   answer
	}{
		"ClusterIP": {
			reason: "a Service has its ClusterIP",
			name:   "front.shop.svc.cluster.local.",
			want:   answer{Code: "NOERROR", Records: []string{"front.shop.svc.cluster.local. A 10.96.3.4"}},
		},
		"NoAAAA": {
			reason: "a Service without IPv6 exists all the same",
			name:   "front.shop.svc.cluster.local.", kind: dns.TypeAAAA,
			want: answer{Code: "NOERROR"},
		},
		"Headless": {
			reason: "a headless Service has the addresses of its pods",
			name:   "db.shop.svc.cluster.local.",
			want: answer{Code: "NOERROR", Records: []string{
				"db.shop.svc.cluster.local. A 10.1.0.10", "db.shop.svc.cluster.local. A 10.1.0.11",
			}},
		},
		"StatefulSetPod": {
			reason: "a pod of a StatefulSet is found by its host name",
			name:   "db-1.db.shop.svc.cluster.local.",
			want:   answer{Code: "NOERROR", Records: []string{"db-1.db.shop.svc.cluster.local. A 10.1.0.11"}},
		},
		"PodByAddress": {
			reason: "a pod without a host name is named after its address",
			name:   "10-1-0-20.bare.shop.svc.cluster.local.",
			want:   answer{Code: "NOERROR", Records: []string{"10-1-0-20.bare.shop.svc.cluster.local. A 10.1.0.20"}},
		},
		"Pod": {
			reason: "the old form of a pod's name contains its address",
			name:   "10-1-2-3.shop.pod.cluster.local.",
			want:   answer{Code: "NOERROR", Records: []string{"10-1-2-3.shop.pod.cluster.local. A 10.1.2.3"}},
		},
		"SRV": {
			reason: "a named port of a Service has a record",
			name:   "_http._tcp.front.shop.svc.cluster.local.", kind: dns.TypeSRV,
			want: answer{Code: "NOERROR", Records: []string{"_http._tcp.front.shop.svc.cluster.local. SRV 0 100 80 front.shop.svc.cluster.local."}},
		},
		"SRVHeadless": {
			reason: "a named port of a headless Service has a record for each pod",
			name:   "_http._tcp.db.shop.svc.cluster.local.", kind: dns.TypeSRV,
			want: answer{Code: "NOERROR", Records: []string{
				"_http._tcp.db.shop.svc.cluster.local. SRV 0 50 8080 db-0.db.shop.svc.cluster.local.",
				"_http._tcp.db.shop.svc.cluster.local. SRV 0 50 8080 db-1.db.shop.svc.cluster.local.",
			}},
		},
		"ExternalName": {
			reason: "a Service for a name outside leads there, with the address",
			name:   "mail.shop.svc.cluster.local.",
			want: answer{Code: "NOERROR", Records: []string{
				"mail.shop.svc.cluster.local. CNAME mx.example.org.", "mx.example.org. A 192.0.2.1",
			}},
		},
		"PTRService": {
			reason: "a ClusterIP leads back to its Service",
			name:   "4.3.96.10.in-addr.arpa.", kind: dns.TypePTR,
			want: answer{Code: "NOERROR", Records: []string{"4.3.96.10.in-addr.arpa. PTR front.shop.svc.cluster.local."}},
		},
		"PTRPod": {
			reason: "the address of a pod leads back to its host name",
			name:   "10.0.1.10.in-addr.arpa.", kind: dns.TypePTR,
			want: answer{Code: "NOERROR", Records: []string{"10.0.1.10.in-addr.arpa. PTR db-0.db.shop.svc.cluster.local."}},
		},
		"PTROutside": {
			reason: "an address that is nothing in the cluster is asked for outside",
			name:   "1.2.0.192.in-addr.arpa.", kind: dns.TypePTR,
			want: answer{Code: "NOERROR", Records: []string{"1.2.0.192.in-addr.arpa. PTR outside.example.org."}},
		},
		"NoSuchService": {
			reason: "a name that the cluster does not have is denied, not asked for outside",
			name:   "back.shop.svc.cluster.local.",
			want:   answer{Code: "NXDOMAIN"},
		},
		"NoSuchNamespace": {
			reason: "the same in a namespace that is not there",
			name:   "front.other.svc.cluster.local.",
			want:   answer{Code: "NXDOMAIN"},
		},
		"Outside": {
			reason: "all other names are asked for outside",
			name:   "www.example.org.",
			want:   answer{Code: "NOERROR", Records: []string{"www.example.org. A 192.0.2.1"}},
		},
		"NotOutside": {
			reason: "what nobody outside knows does not exist",
			name:   "www.example.com.",
			want:   answer{Code: "NXDOMAIN"},
		},
		"Version": {
			reason: "the DNS specification of Kubernetes asks for its version",
			name:   "dns-version.cluster.local.", kind: dns.TypeTXT,
			want: answer{Code: "NOERROR", Records: []string{`dns-version.cluster.local. TXT "1.1.0"`}},
		},
	}
	for name, tc := range cases {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+"/"+network, func(t *testing.T) {
				t.Parallel()
				kind := tc.kind
				if kind == 0 {
					kind = dns.TypeA
				}
				if diff := cmp.Diff(tc.want, lookup(t, s.Addr(), network, tc.name, kind)); diff != "" {
					t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
				}
			})
		}
	}
}

func TestNewServiceIsKnownAtOnce(t *testing.T) {
	t.Parallel()
	api := newShop(t)
	s, _ := startServer(t, Options{Virtual: api.config(), ResolvConf: filepath.Join(t.TempDir(), "none")})
	awaitReady(t, s)
	const name = "late.shop.svc.cluster.local."
	if got := lookup(t, s.Addr(), "udp", name, dns.TypeA); got.Code != "NXDOMAIN" {
		t.Fatalf("before the Service is made: want NXDOMAIN, got %v", got)
	}
	api.add(newService("shop", "late", "10.96.9.9"))
	want := answer{Code: "NOERROR", Records: []string{name + " A 10.96.9.9"}}
	// Well below the 30 s for which a cache would deny it.
	got := eventually(t, 25*time.Second, func() (answer, bool) {
		got := lookup(t, s.Addr(), "udp", name, dns.TypeA)
		return got, got.Code == "NOERROR"
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("somebody asked too early, and the answer was kept\n-want, +got:\n%s", diff)
	}
}

func TestOutsideIsCached(t *testing.T) {
	t.Parallel()
	outside, asked := startUpstream(t)
	registry := metrics.NewKubeRegistry()
	s, _ := startServer(t, Options{Virtual: newShop(t).config(), Upstreams: []string{outside}, Register: registry.Register})
	for range 3 {
		lookup(t, s.Addr(), "udp", "cached.example.org.", dns.TypeA)
	}
	again, _ := startServer(t, Options{Virtual: newShop(t).config(), Upstreams: []string{outside}, Register: registry.Register})
	if got := asked.Load(); got != 1 {
		t.Errorf("the same name three times: want 1 query outside, got %d", got)
	}
	want := `
# HELP sublet_dns_requests_total [ALPHA] DNS queries by protocol (udp, tcp), by zone (cluster, address, outside) and by response code.
# TYPE sublet_dns_requests_total counter
sublet_dns_requests_total{protocol="udp",rcode="NOERROR",zone="outside"} 4
`
	lookup(t, again.Addr(), "udp", "cached.example.org.", dns.TypeA)
	// A query is counted after its answer was sent.
	err := eventually(t, patience, func() (error, bool) {
		err := testutil.GatherAndCompare(registry, strings.NewReader(want), "sublet_dns_requests_total")
		return err, err == nil
	})
	if err != nil {
		t.Errorf("two servers in one process count together: %v", err)
	}
}

func TestWaitsForTheAPIServer(t *testing.T) {
	t.Parallel()
	api := newShop(t)
	api.setReady(false)
	s, _ := startServer(t, Options{Virtual: api.config(), ResolvConf: filepath.Join(t.TempDir(), "none")})
	const name = "front.shop.svc.cluster.local."
	if got := lookup(t, s.Addr(), "udp", name, dns.TypeA); got.Code != "SERVFAIL" {
		t.Errorf("a name must not be denied before all names are known: want SERVFAIL, got %v", got)
	}
	select {
	case <-s.Ready():
		t.Error("the server is ready and knows nothing")
	default:
	}
	api.setReady(true)
	awaitReady(t, s)
	want := answer{Code: "NOERROR", Records: []string{name + " A 10.96.3.4"}}
	if diff := cmp.Diff(want, lookup(t, s.Addr(), "udp", name, dns.TypeA)); diff != "" {
		t.Errorf("once the API server answers, so does DNS\n-want, +got:\n%s", diff)
	}
}

// TestTwoInOneProcess runs two clusters at once, then starts one again on its address.
func TestTwoInOneProcess(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none")
	red := newFakeAPI(t, newNamespace("shop"), newService("shop", "front", "10.96.0.10"))
	blue := newFakeAPI(t, newNamespace("shop"), newService("shop", "front", "10.96.0.20"))
	redServer, stopRed := startServer(t, Options{Virtual: red.config(), ResolvConf: none})
	blueServer, _ := startServer(t, Options{Virtual: blue.config(), ResolvConf: none, ClusterDomain: "blue.example"})
	awaitReady(t, redServer)
	awaitReady(t, blueServer)

	check := func(reason, address, name, ip string) {
		t.Helper()
		want := answer{Code: "NOERROR", Records: []string{name + " A " + ip}}
		if diff := cmp.Diff(want, lookup(t, address, "udp", name, dns.TypeA)); diff != "" {
			t.Errorf("%s\n-want, +got:\n%s", reason, diff)
		}
	}
	check("the first has its own", redServer.Addr(), "front.shop.svc.cluster.local.", "10.96.0.10")
	check("the second has its own, in its own domain", blueServer.Addr(), "front.shop.svc.blue.example.", "10.96.0.20")

	address := redServer.Addr()
	stopRed()
	check("the second does not mind that the first stops", blueServer.Addr(), "front.shop.svc.blue.example.", "10.96.0.20")
	again, _ := startServer(t, Options{Virtual: red.config(), ResolvConf: none, Address: address})
	awaitReady(t, again)
	check("the first is back on its address", address, "front.shop.svc.cluster.local.", "10.96.0.10")
}

func TestStopsBeforeItHasBegun(t *testing.T) {
	t.Parallel()
	for range 20 {
		s, err := New(Options{Virtual: &rest.Config{Host: "127.0.0.1:1"}, Address: "127.0.0.1:0", ResolvConf: os.DevNull})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run(...): %v", err)
			}
		case <-time.After(patience):
			t.Fatal("Run(...) does not return")
		}
	}
}

func TestFailsWhenAListenerGoes(t *testing.T) {
	t.Parallel()
	s, err := New(Options{Virtual: newShop(t).config(), Address: "127.0.0.1:0", ResolvConf: os.DevNull})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	awaitReady(t, s)
	_ = s.udp.Close()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "cannot serve DNS") {
			t.Errorf("half a DNS server is worse than none: want an error that says so, got %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Run(...) does not notice that nobody can ask over UDP any more")
	}
}
