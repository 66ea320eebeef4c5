package admission

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// fakeView is a host with some pods of the virtual cluster and some classes.
type fakeView struct {
	own     []string
	classes []storagev1.StorageClass
	// runtimeClasses maps name -> class of the host that the tenant sees.
	runtimeClasses map[string]*nodev1.RuntimeClass
	// ingressClasses are the names of those of the host that the tenant sees.
	ingressClasses []string
	// evictErrs are why the host evicts no pod: one after the other, the last for ever. Each call of
	// MayEvict takes one.
	evictErrs *[]error
	err       error
}

func (v fakeView) OwnsAddress(_ context.Context, address string) (bool, error) {
	return slices.Contains(v.own, address), v.err
}

func (v fakeView) StorageClasses(context.Context) ([]storagev1.StorageClass, error) {
	return v.classes, v.err
}

func (v fakeView) RuntimeClass(_ context.Context, name string) (*nodev1.RuntimeClass, error) {
	return v.runtimeClasses[name], v.err
}

func (v fakeView) ShowsIngressClass(_ context.Context, name string) (bool, error) {
	return slices.Contains(v.ingressClasses, name), v.err
}

func (v fakeView) MayEvict(context.Context, types.NamespacedName) error {
	err := (*v.evictErrs)[0]
	if len(*v.evictErrs) > 1 {
		*v.evictErrs = (*v.evictErrs)[1:]
	}
	return err
}

// askPolicies asks the policies about an object of a tenant who impersonates the syncer.
func askPolicies(t *testing.T, settings *v1alpha1.Config, view HostView, resource schema.GroupResource, kind string, old, object runtime.Object) error {
	t.Helper()
	return askChecks(t, PolicyChecks(settings, view), resource, kind, old, object)
}

// askChecks asks checks about an object of a tenant who impersonates the syncer.
func askChecks(t *testing.T, checks Checks, resource schema.GroupResource, kind string, old, object runtime.Object) error {
	t.Helper()
	operation := admission.Create
	if old != nil {
		operation = admission.Update
	}
	if object == nil {
		operation = admission.Delete
	}
	plugin := Policy(PolicyOptions{Checks: checks})
	a := admission.NewAttributesRecord(object, old, schema.GroupVersionKind{Version: "v1", Kind: kind}, "shop", "db",
		resource.WithVersion("v1"), "", operation, nil, false, &user.DefaultInfo{Name: "system:sublet:syncer"})
	return plugin.Validate(t.Context(), a, nil)
}

// withSlices returns the default settings, with slices synced.
func withSlices() *v1alpha1.Config {
	settings := v1alpha1.Default(v1alpha1.Kind{Setting: "sync.toHost.endpointSlices", Enabled: true})
	settings.Policies.Endpoints.Allowed = []string{"192.0.2.0/24"}
	return settings
}

// slice returns a slice of a Service, with its addresses.
func slice(service string, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "db", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, address := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	return s
}

// endpointsTo returns an Endpoints object.
func endpointsTo(ready, notReady string) *corev1.Endpoints { //nolint:staticcheck // Tenants still use them.
	subset := corev1.EndpointSubset{Addresses: []corev1.EndpointAddress{{IP: ready}}} //nolint:staticcheck // As above.
	if notReady != "" {
		subset.NotReadyAddresses = []corev1.EndpointAddress{{IP: notReady}}
	}
	return &corev1.Endpoints{ //nolint:staticcheck // As above.
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
		Subsets:    []corev1.EndpointSubset{subset}, //nolint:staticcheck // As above.
	}
}

func TestEndpointPolicy(t *testing.T) {
	t.Parallel()
	byController := slice("db", "10.0.0.1")
	byController.Labels[discoveryv1.LabelManagedBy] = "endpointslice-controller.k8s.io"
	kubernetes := slice("kubernetes", "10.0.0.1")
	kubernetes.Namespace = "default"
	fqdn := slice("db", "db.example.com")
	fqdn.AddressType = discoveryv1.AddressTypeFQDN
	slices, endpoints := discoveryv1.Resource("endpointslices"), corev1.Resource("endpoints")
	for _, test := range []struct {
		reason      string
		resource    schema.GroupResource
		old, object runtime.Object
		denial      string // the golden file, empty for none
	}{
		{reason: "a pod of the tenant's own", resource: slices, object: slice("db", "10.1.2.3")},
		{reason: "an allowed range", resource: slices, object: slice("db", "192.0.2.7")},
		{reason: "a slice without a Service leads nowhere", resource: slices, object: slice("", "10.0.0.1")},
		{reason: "slices of the controller are not copied", resource: slices, object: byController},
		{reason: "the API server's own", resource: slices, object: kubernetes},
		{reason: "a node of the host", resource: slices, object: slice("db", "10.1.2.3", "10.0.0.1"), denial: "slice-create"},
		{reason: "on update too", resource: slices, old: slice("db", "10.1.2.3"), object: slice("db", "10.0.0.1"), denial: "slice-update"},
		{reason: "a dead pod's address stays", resource: slices, old: slice("db", "10.1.9.9"), object: slice("db", "10.1.9.9", "10.1.2.3")},
		{
			reason: "what was not checked before is checked when it gets a Service", resource: slices,
			old: slice("", "10.0.0.1"), object: slice("db", "10.0.0.1"), denial: "slice-service",
		},
		{
			reason: "or when it leaves the controller", resource: slices,
			old: byController, object: slice("db", "10.0.0.1"), denial: "slice-controller",
		},
		{reason: "names", resource: slices, object: fqdn, denial: "slice-fqdn"},
		{reason: "Endpoints of an own pod", resource: endpoints, object: endpointsTo("10.1.2.3", "")},
		{reason: "Endpoints of a node, ready or not", resource: endpoints, object: endpointsTo("10.1.2.3", "10.0.0.1"), denial: "endpoints-create"},
		{
			reason: "Endpoints on update", resource: endpoints, old: endpointsTo("10.1.2.3", ""),
			object: endpointsTo("10.0.0.1", ""), denial: "endpoints-update",
		},
		{reason: "a leader that died", resource: endpoints, old: endpointsTo("10.1.9.9", ""), object: endpointsTo("10.1.9.9", "10.1.2.3")},
	} {
		err := askPolicies(t, withSlices(), fakeView{own: []string{"10.1.2.3"}}, test.resource, "EndpointSlice", test.old, test.object)
		switch {
		case test.denial != "":
			equalDenial(t, test.denial, err)
		case err != nil:
			t.Errorf("%s: %v", test.reason, err)
		}
	}
}

func TestEndpointsOfUnknownHost(t *testing.T) {
	t.Parallel()
	err := askPolicies(t, withSlices(), fakeView{err: errors.New("host 10.0.0.1 is away")}, discoveryv1.Resource("endpointslices"),
		"EndpointSlice", nil, slice("db", "10.1.2.3"))
	if !apierrors.IsServiceUnavailable(err) || strings.Contains(err.Error(), "10.0.0.1") {
		t.Errorf("got %v, want 503 without the host's words", err)
	}
}
