package dns

import (
	"testing"

	"github.com/coredns/coredns/plugin/kubernetes/object"
	"github.com/miekg/dns"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// TestEndpointsThatAreNames checks that a query follows no name that a tenant has written into a slice.
func TestEndpointsThatAreNames(t *testing.T) {
	t.Parallel()
	tree := newSlice("shop", "tree", [2]string{"", "db.shop.svc.cluster.local"}, [2]string{"", "mx.example.org"})
	tree.AddressType = discoveryv1.AddressTypeFQDN
	api := newShop(t)
	api.add(newService("shop", "tree", "None"))
	api.add(tree)
	outside, asked := startUpstream(t)
	s, _ := startServer(t, Options{Virtual: api.config(), Upstreams: []string{outside}})
	awaitReady(t, s)
	if got := lookup(t, s.Addr(), "tcp", "tree.shop.svc.cluster.local.", dns.TypeA); len(got.Records) != 0 || asked.Load() != 0 {
		t.Errorf("names in a slice were followed: %v, %d queries outside", got, asked.Load())
	}
	if got := lookup(t, s.Addr(), "tcp", "db.shop.svc.cluster.local.", dns.TypeA); len(got.Records) != 2 {
		t.Errorf("addresses are lost: %v", got)
	}
}

// fixedEndpoints is a cache with the slices of one Service.
type fixedEndpoints struct {
	cachedObjects
	slices []*object.Endpoints
}

func (f fixedEndpoints) EpIndex(string) []*object.Endpoints { return f.slices }

// TestRecordsOfOneService bounds what one query makes of a Service.
func TestRecordsOfOneService(t *testing.T) {
	t.Parallel()
	subset := object.EndpointSubset{Ports: make([]object.EndpointPort, 1000), Addresses: make([]object.EndpointAddress, 1000)}
	for i := range subset.Addresses {
		subset.Addresses[i].IP = "10.1.0.1"
	}
	slice := &object.Endpoints{Subsets: []object.EndpointSubset{subset}}
	records := 0
	for _, e := range (boundedEndpoints{fixedEndpoints{slices: []*object.Endpoints{slice, slice}}}).EpIndex("x") {
		for _, s := range e.Subsets {
			records += len(s.Ports) * len(s.Addresses)
		}
	}
	if records == 0 || records > maxRecords || len(slice.Subsets[0].Addresses) != 1000 {
		t.Errorf("a query makes %d records, want at most %d; the cache has %d addresses", records, maxRecords, len(slice.Subsets[0].Addresses))
	}
}
