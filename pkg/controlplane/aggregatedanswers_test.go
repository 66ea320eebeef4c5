package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	discoveryendpoint "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// greedyServers are aggregated API servers that send too much. The name of a server is what it does.
type greedyServers struct {
	*httptest.Server
	asked sync.Map // name -> *atomic.Int64, how often its discovery was read
}

// newGreedyServers starts the servers behind one port.
func newGreedyServers(t *testing.T) *greedyServers {
	t.Helper()
	s := &greedyServers{}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// dial connects to the servers, whatever the address.
func (s *greedyServers) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, s.Listener.Addr().String())
}

// asks returns how often the discovery of a server was read.
func (s *greedyServers) asks(name string) *atomic.Int64 {
	asks, _ := s.asked.LoadOrStore(name, &atomic.Int64{})
	return asks.(*atomic.Int64)
}

// ServeHTTP answers as the server of that name does.
func (s *greedyServers) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name, _, _ := strings.Cut(req.TLS.ServerName, ".")
	switch {
	case req.URL.Path == "/apis":
		defer s.asks(name).Add(1)
		serveDiscovery(w, req, name)
	case strings.HasSuffix(req.URL.Path, "/v1"): // a check whether the server is there
	case name == "compressed":
		// As servers do it: only for a client that takes it.
		writeBomb(w, strings.Contains(req.Header.Get("Accept-Encoding"), "gzip"), []byte("{}"))
	case name == "long":
		writeBomb(w, false, []byte("{}"))
	default:
		_, _ = w.Write([]byte("{}"))
	}
}

// serveDiscovery answers with the discovery document of a server.
func serveDiscovery(w http.ResponseWriter, req *http.Request, name string) {
	w.Header().Set("Content-Type", discovery.AcceptV2)
	document, _ := json.Marshal(newDocument(name))
	switch name {
	case "compressed":
		writeBomb(w, strings.Contains(req.Header.Get("Accept-Encoding"), "gzip"), document)
		w.Header().Set("Content-Type", discovery.AcceptV2)
	case "long":
		writeBomb(w, false, document)
	case "odd":
		connection, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(connection, "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\n{}")
			_ = connection.Close()
		}
	case "empty":
		content := bytes.TrimSuffix(document, []byte("]}]}]}"))
		_, _ = w.Write(append(append(content, bytes.Repeat([]byte(",{}"), 2*discoveryCommas)...), []byte("]}]}]}")...))
	default:
		_, _ = w.Write(document)
	}
}

// newDocument returns the discovery document of a server.
func newDocument(name string) apidiscoveryv2.APIGroupDiscoveryList {
	version := apidiscoveryv2.APIVersionDiscovery{Version: "v1", Resources: newResources(1, "get", "watch")}
	return apidiscoveryv2.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{APIVersion: apidiscoveryv2.SchemeGroupVersion.String(), Kind: "APIGroupDiscoveryList"},
		Items: []apidiscoveryv2.APIGroupDiscovery{{
			ObjectMeta: metav1.ObjectMeta{Name: name + ".example.com"}, Versions: []apidiscoveryv2.APIVersionDiscovery{version},
		}},
	}
}

// newResources returns resources with some verbs.
func newResources(number int, verbs ...string) []apidiscoveryv2.APIResourceDiscovery {
	var resources []apidiscoveryv2.APIResourceDiscovery
	for i := range number {
		resources = append(resources, apidiscoveryv2.APIResourceDiscovery{
			Resource: fmt.Sprintf("things%d", i), Scope: apidiscoveryv2.ScopeCluster, Verbs: verbs,
			ResponseKind: &metav1.GroupVersionKind{Kind: "Thing"},
		})
	}
	return resources
}

// register creates the Service and the APIService of a server.
func (s *greedyServers) register(t *testing.T, p *plane, name string) {
	t.Helper()
	_, err := p.client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ready, port, protocol := true, int32(443), corev1.ProtocolTCP
	_, err = p.client.DiscoveryV1().EndpointSlices("default").Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}}, AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.2.3"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:     []discoveryv1.EndpointPort{{Port: &port, Protocol: &protocol}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = aggregation(t, p).ApiregistrationV1().APIServices().Create(t.Context(), &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1." + name + ".example.com"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: name + ".example.com", Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 100,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: name}, InsecureSkipTLSVerify: true,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAggregatedAnswers registers API servers that send more than the process should read, store or
// watch.
func TestAggregatedAnswers(t *testing.T) {
	t.Parallel()
	servers := newGreedyServers(t)
	p := startPlane(t, Config{Dial: servers.dial})
	tenant := clientOf(t, p.kubeconfig(t, "admin", pki.GroupAdmins))
	for name, tc := range map[string]struct {
		reason    string
		resources int // in discovery
		readable  bool
	}{
		"short":      {"an ordinary server", 1, true},
		"empty":      {"each empty resource takes a hundred times its size in memory", 0, true},
		"long":       {"the answer is in memory as a whole", 0, false},
		"compressed": {"a small answer becomes a large one", 0, false},
		"odd":        {"no writer takes this status, and panics", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers.register(t, p, name)
			eventually(t, tc.reason, func(ctx context.Context) string {
				// What fails is tried again, so the second time shows that the first one has ended.
				if asks := servers.asks(name).Load(); asks < 1 || tc.resources == 0 && asks < 2 {
					return fmt.Sprintf("asked %d times", asks)
				}
				return checkDiscovered(ctx, tenant, name, tc.resources)
			})
			path := "/apis/" + name + ".example.com/v1/things0"
			err := p.client.Discovery().RESTClient().Get().AbsPath(path).Do(t.Context()).Error()
			if (err == nil) != tc.readable {
				t.Errorf("%s: a part of the process reads %s: got %v, want no error: %t", tc.reason, path, err, tc.readable)
			}
			if err := tenant.Discovery().RESTClient().Get().AbsPath(path).Do(t.Context()).Error(); err != nil {
				t.Errorf("%s: the tenant reads %s: %v", tc.reason, path, err)
			}
			checkDescription(t, p, tenant, "/openapi/v3/apis/"+name+".example.com/v1")
		})
	}
}

// checkDescription checks that the tenant reads the OpenAPI document of a server, and no part of the process does.
func checkDescription(t *testing.T, p *plane, tenant kubernetes.Interface, path string) {
	t.Helper()
	eventually(t, "the tenant reads "+path, func(ctx context.Context) string {
		if err := tenant.Discovery().RESTClient().Get().AbsPath(path).Do(ctx).Error(); err != nil {
			return err.Error()
		}
		return ""
	})
	if err := p.client.Discovery().RESTClient().Get().AbsPath(path).Do(t.Context()).Error(); !apierrors.IsNotFound(err) {
		t.Errorf("a part of the process reads %s: got %v, want that it is not found", path, err)
	}
}

// checkDiscovered returns what is wrong with the resources of a server in the discovery document.
func checkDiscovered(ctx context.Context, client kubernetes.Interface, name string, want int) string {
	content, err := client.Discovery().RESTClient().Get().AbsPath("/apis").SetHeader("Accept", discovery.AcceptV2).Do(ctx).Raw()
	if err != nil {
		return err.Error()
	}
	list := apidiscoveryv2.APIGroupDiscoveryList{}
	if err := json.Unmarshal(content, &list); err != nil {
		return err.Error()
	}
	for _, group := range list.Items {
		if group.Name != name+".example.com" {
			continue
		}
		version := group.Versions[0]
		if wantFresh := want > 0; len(version.Resources) == want && (version.Freshness == apidiscoveryv2.DiscoveryFreshnessCurrent) == wantFresh {
			return ""
		}
		return fmt.Sprintf("%d resources, %s, want %d", len(version.Resources), version.Freshness, want)
	}
	return "the group is not discovered"
}

// TestBoundedDiscovery adds more resources than controllers may watch.
func TestBoundedDiscovery(t *testing.T) {
	t.Parallel()
	document := discoveryendpoint.NewResourceManager("apis")
	bounded := newBoundedDiscovery(document)
	add := func(group string, resources []apidiscoveryv2.APIResourceDiscovery) {
		bounded.AddGroupVersion(group, apidiscoveryv2.APIVersionDiscovery{Version: "v1", Resources: resources})
	}
	check := func(reason, group string, want int) {
		t.Helper()
		found := -1
		for _, listed := range listGroups(t, document) {
			if listed.Name == group {
				found = len(listed.Versions[0].Resources)
			}
		}
		if found != want {
			t.Errorf("%s: %s has %d resources, want %d", reason, group, found, want)
		}
	}
	add("first", newResources(maxWatchedResources-10, "watch"))
	add("second", append(newResources(20, "get", "watch"), newResources(5000, "get")...))
	check("only 10 more may be watched, which metrics are not", "second", 5010)
	add("first", newResources(maxWatchedResources-5, "watch"))
	check("what another server has is not taken from it", "first", maxWatchedResources-10)
	bounded.RemoveGroupVersion(metav1.GroupVersion{Group: "first", Version: "v1"})
	add("second", newResources(20, "watch"))
	check("a server that is gone makes room", "second", 20)
	bounded.RemoveGroupVersion(metav1.GroupVersion{Group: "second", Version: "v1"})
	long := strings.Repeat("x", discoveredBytes/4)
	add("third", newResources(10, long))
	check("a copy of the document has all of it", "third", 3)
	add("fourth", newResources(10, "get", "list", "watch"))
	check("the limit is for all servers, and some room is left", "fourth", 10)
	add("fifth", []apidiscoveryv2.APIResourceDiscovery{{Resource: "things", Subresources: []apidiscoveryv2.APISubresourceDiscovery{{Verbs: []string{long}}}}})
	check("subresources count", "fifth", 0)
}
