package dns

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// fakeAPI is a virtual API server that lists and watches, and no more.
type fakeAPI struct {
	server *httptest.Server

	mu      sync.Mutex
	ready   bool
	objects map[string][]runtime.Object
	// watches are told of each new object of their resource.
	watches map[string][]chan runtime.Object
}

// kinds are the served resources and what their objects are.
var kinds = map[string]metav1.TypeMeta{
	"namespaces":     {APIVersion: "v1", Kind: "Namespace"},
	"services":       {APIVersion: "v1", Kind: "Service"},
	"endpointslices": {APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
}

// newFakeAPI starts an API server that is ready.
func newFakeAPI(t *testing.T, objects ...runtime.Object) *fakeAPI {
	t.Helper()
	a := &fakeAPI{ready: true, objects: map[string][]runtime.Object{}, watches: map[string][]chan runtime.Object{}}
	for _, object := range objects {
		a.add(object)
	}
	a.server = httptest.NewServer(a)
	t.Cleanup(func() {
		a.server.CloseClientConnections()
		a.server.Close()
	})
	return a
}

func (a *fakeAPI) config() *rest.Config { return &rest.Config{Host: a.server.URL} }

// setReady switches whether the API server responds.
func (a *fakeAPI) setReady(ready bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ready = ready
}

// add creates an object and sends it to the watches.
func (a *fakeAPI) add(object runtime.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for resource, kind := range kinds {
		if kind.Kind == object.GetObjectKind().GroupVersionKind().Kind {
			a.objects[resource] = append(a.objects[resource], object)
			for _, watch := range a.watches[resource] {
				watch <- object
			}
		}
	}
}

func (a *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	kind, known := kinds[resource]
	a.mu.Lock()
	ready := a.ready
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case !known:
		http.NotFound(w, r)
	case !ready:
		http.Error(w, "starting", http.StatusServiceUnavailable)
	case r.URL.Query().Get("watch") != "":
		a.serveWatch(w, r, resource, kind)
	default:
		a.mu.Lock()
		defer a.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{
			"kind": kind.Kind + "List", "apiVersion": kind.APIVersion,
			"metadata": map[string]string{"resourceVersion": "1"}, "items": a.objects[resource],
		})
	}
}

// serveWatch streams what is there, if asked to, and whatever is added.
func (a *fakeAPI) serveWatch(w http.ResponseWriter, r *http.Request, resource string, kind metav1.TypeMeta) {
	events := make(chan runtime.Object, 100)
	a.mu.Lock()
	a.watches[resource] = append(a.watches[resource], events)
	initial := append([]runtime.Object(nil), a.objects[resource]...)
	a.mu.Unlock()
	send := func(event string, object any) {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": event, "object": object})
		_ = http.NewResponseController(w).Flush()
	}
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		for _, object := range initial {
			send("ADDED", object)
		}
		send("BOOKMARK", map[string]any{
			"kind": kind.Kind, "apiVersion": kind.APIVersion,
			"metadata": map[string]any{"resourceVersion": "1", "annotations": map[string]string{metav1.InitialEventsAnnotationKey: "true"}},
		})
	}
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case object := <-events:
			send("ADDED", object)
		case <-r.Context().Done():
			return
		}
	}
}

func newNamespace(name string) *corev1.Namespace {
	return &corev1.Namespace{TypeMeta: kinds["namespaces"], ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "1"}}
}

// newService returns a Service with one named port; "None" makes it headless.
func newService(namespace, name, ip string) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   kinds["services"],
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: "1"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
}

// newExternal returns a Service for a name outside.
func newExternal(namespace, name, target string) *corev1.Service {
	s := newService(namespace, name, "")
	s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: target}
	return s
}

// newSlice returns the endpoints of a Service: host names, in order, to addresses.
func newSlice(namespace, service string, endpoints ...[2]string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		TypeMeta: kinds["endpointslices"],
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s-1", service), ResourceVersion: "1",
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for _, endpoint := range endpoints {
		e := discoveryv1.Endpoint{Addresses: []string{endpoint[1]}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}
		if endpoint[0] != "" {
			e.Hostname = new(endpoint[0])
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}
