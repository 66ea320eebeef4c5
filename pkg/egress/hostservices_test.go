package egress

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestServiceOfTheHost dials a Service that the operator shares. Of its slices, those of the
// syncer alone lead anywhere.
func TestServiceOfTheHost(t *testing.T) {
	t.Parallel()
	shared, others := newService("db", "10.96.7.7", "10.9.9.9"), newService("other", "10.96.7.8", "10.9.9.9")
	older, going := newService("gone", "10.96.7.9", "10.9.9.9"), metav1.Now()
	forged := newService("db", "10.96.7.7", "10.9.9.10")[1].(*discoveryv1.EndpointSlice)
	forged.Name = "forged"
	// A tenant may have marked one before the operator shared a Service.
	marked := newService("db", "10.96.7.7", "10.9.9.11")[1].(*discoveryv1.EndpointSlice)
	marked.Name = "marked"
	for _, object := range []any{shared[1], others[1], older[1], marked} {
		object.(*discoveryv1.EndpointSlice).Annotations = map[string]string{labels.HostUID: "uid"}
	}
	for service, object := range map[string]any{"db": shared[1], "other": others[1], "gone": older[1]} {
		object.(*discoveryv1.EndpointSlice).Name = service
	}
	older[1].(*discoveryv1.EndpointSlice).DeletionTimestamp = &going
	older[1].(*discoveryv1.EndpointSlice).Finalizers = []string{"example.com/mine"}
	w := newWorld(t, func(o *Options) {
		o.HostServices = []types.NamespacedName{{Namespace: "web", Name: "db"}, {Namespace: "web", Name: "gone"}}
	}, append(slices.Concat(shared, others, older), forged, marked)...)
	connected, text := w.dialAndSettle(t, "10.96.7.7:443")
	if diff := cmp.Diff([]string{"10.9.9.9:8443"}, connected); diff != "" {
		t.Errorf("the shared Service: %s %s", diff, text)
	}
	if connected, text := w.dialAndSettle(t, "10.96.7.9:443"); len(connected) > 0 || text == "" {
		t.Errorf("a slice that only a finalizer keeps leads to %v", connected)
	}
	if connected, text := w.dialAndSettle(t, "10.96.7.8:443"); len(connected) > 0 || text == "" {
		t.Errorf("an annotation opens no Service that the operator does not share: %v", connected)
	}
}
