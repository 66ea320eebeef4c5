package egress

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestServiceOfTheHost dials a Service that the operator shares. Of its slices, those of the
// syncer alone lead anywhere.
func TestServiceOfTheHost(t *testing.T) {
	t.Parallel()
	shared, others := newService("db", "10.96.7.7", "10.9.9.9"), newService("other", "10.96.7.8", "10.9.9.9")
	forged := newService("db", "10.96.7.7", "10.9.9.10")[1].(*discoveryv1.EndpointSlice)
	forged.Name = "forged"
	for _, object := range []any{shared[1], others[1]} {
		object.(*discoveryv1.EndpointSlice).Annotations = map[string]string{labels.HostUID: "uid"}
	}
	w := newWorld(t, func(o *Options) {
		o.HostServices = []types.NamespacedName{{Namespace: "web", Name: "db"}}
	}, append(append(shared, others...), forged)...)
	connected, text := w.dialAndSettle(t, "10.96.7.7:443")
	if diff := cmp.Diff([]string{"10.9.9.9:8443"}, connected); diff != "" {
		t.Errorf("the shared Service: %s %s", diff, text)
	}
	if connected, text := w.dialAndSettle(t, "10.96.7.8:443"); len(connected) > 0 || text == "" {
		t.Errorf("an annotation opens no Service that the operator does not share: %v", connected)
	}
}
