package dns

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"k8s.io/client-go/rest"
)

func TestReadNameservers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		file   string
		want   []string
	}{
		"Two": {
			reason: "a pod's file names the host's DNS",
			file:   "search a.svc.cluster.local\nnameserver 10.96.0.10\nnameserver fd00::10\noptions ndots:5\n",
			want:   []string{"10.96.0.10", "fd00::10"},
		},
		"Zone": {
			reason: "an address on the link has its zone",
			file:   "nameserver fe80::1%eth0\n",
			want:   []string{"fe80::1%eth0"},
		},
		"Empty": {reason: "a file that names none is no error", file: ""},
		"Junk":  {reason: "what is no address is passed over", file: "nameserver {$HOME}\nnameserver localhost\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "resolv.conf")
			if err := os.WriteFile(path, []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, readNameservers(path)); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
	if got := readNameservers(filepath.Join(t.TempDir(), "none")); got != nil {
		t.Errorf("a file that is not there names none, got %q", got)
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	api := &rest.Config{Host: "127.0.0.1:1"}
	cases := map[string]struct {
		reason  string
		options Options
		want    string
	}{
		"NoAPI":     {reason: "there is nothing to ask", want: "no configuration of the virtual cluster"},
		"BadDomain": {reason: "a domain must not bring words of its own into the Corefile", options: Options{Virtual: api, ClusterDomain: "a {\n}"}, want: `cluster domain "a {\n}"`},
		"BadUpstream": {
			reason:  "a nameserver is an address; its name could not be resolved",
			options: Options{Virtual: api, Upstreams: []string{"10.0.0.1", "dns.example.org"}},
			want:    `nameserver "dns.example.org"`,
		},
		"BadAddress": {reason: "an address that cannot be bound is known at once", options: Options{Virtual: api, Address: "192.0.2.1:1053", ResolvConf: os.DevNull}, want: "cannot bind"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := New(tc.options); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nwant an error with %q, got %v", tc.reason, tc.want, err)
			}
		})
	}
}

func TestNoOutside(t *testing.T) {
	t.Parallel()
	s, _ := startServer(t, Options{Virtual: newShop(t).config(), ResolvConf: os.DevNull})
	awaitReady(t, s)
	for _, name := range []string{"www.example.org.", "1.2.0.192.in-addr.arpa."} {
		if got := lookup(t, s.Addr(), "udp", name, dns.TypeA); got.Code != "SERVFAIL" {
			t.Errorf("%s: nobody outside can be asked, so nothing can be said about it: want SERVFAIL, got %v", name, got)
		}
	}
	if got := lookup(t, s.Addr(), "udp", "front.shop.svc.cluster.local.", dns.TypeA); got.Code != "NOERROR" {
		t.Errorf("the cluster's own names need no outside: want NOERROR, got %v", got)
	}
}
