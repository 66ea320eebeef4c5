package dns

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
)

// TestPanic checks that a panic of a plugin costs one query, and that it is counted.
func TestPanic(t *testing.T) {
	t.Parallel()
	registry := metrics.NewKubeRegistry()
	o, err := newObserver("cluster.local", registry.Register)
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	o.next = plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
		if calls.Add(1) == 1 {
			panic("a bug")
		}
		return dns.RcodeNameError, nil
	})
	query := new(dns.Msg)
	query.SetQuestion("front.shop.svc.cluster.local.", dns.TypeA)
	if code, err := o.ServeDNS(t.Context(), &test.ResponseWriter{}, query); code != dns.RcodeServerFailure || err == nil {
		t.Errorf("the query that met the panic: got %s, %v, want SERVFAIL and an error", dns.RcodeToString[code], err)
	}
	if code, err := o.ServeDNS(t.Context(), &test.ResponseWriter{}, query); code != dns.RcodeNameError || err != nil {
		t.Errorf("the next query: got %s, %v, want NXDOMAIN", dns.RcodeToString[code], err)
	}
	want := `
# HELP sublet_dns_panics_total [ALPHA] DNS queries that ended in a panic. Each is a bug; its stack is in the log.
# TYPE sublet_dns_panics_total counter
sublet_dns_panics_total 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "sublet_dns_panics_total"); err != nil {
		t.Error(err)
	}
}
