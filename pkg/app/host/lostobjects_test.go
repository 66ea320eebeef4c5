package host

import (
	"context"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// TestDiscoverWithoutItsObjects starts again while the host lacks an object of the release. The volume has all facts.
func TestDiscoverWithoutItsObjects(t *testing.T) {
	t.Parallel()
	resource := schema.GroupResource{Resource: "x"}
	for name, c := range map[string]struct {
		resource string
		err      error
	}{
		"service":   {"services", apierrors.NewNotFound(resource, "shop-dns")},
		"anchor":    {"configmaps", apierrors.NewNotFound(resource, "shop-anchor")},
		"gone":      {"configmaps", apierrors.NewResourceExpired("gone")},
		"proxy 408": {"configmaps", apierrors.NewGenericServerResponse(408, "get", resource, "", "", 0, true)},
	} {
		client := fake.NewClientset(chartObjects(nil)...)
		d := newDiscovery(t, client)
		createStore(t, d.DataDir)
		kept := &Facts{Anchor: shop().AnchorOwner("anchor-uid"), Certs: map[string][]byte{"ca.crt": []byte("kept")}}
		if err := kept.save(d.DataDir); err != nil {
			t.Fatal(err)
		}
		client.PrependReactor("get", c.resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, c.err })
		d.Clock = lateClock{}
		facts, holder, err := d.Discover(t.Context(), noStandby(t))
		if err != nil || string(facts.Certs["ca.crt"]) != "kept" || holder.MayWrite() == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDiscoverAnotherReleaseWithoutItsObjects starts with the store of an earlier release, while the host lacks an
// object of this one. The store may be another tenant's, so that the replica waits.
func TestDiscoverAnotherReleaseWithoutItsObjects(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil)...)
	d := newDiscovery(t, client)
	createStore(t, d.DataDir)
	kept := &Facts{Anchor: shop().AnchorOwner("earlier-uid"), Certs: map[string][]byte{"ca.crt": []byte("kept")}}
	if err := kept.save(d.DataDir); err != nil {
		t.Fatal(err)
	}
	client.PrependReactor("get", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, "shop-dns")
	})
	d.Clock = lateClock{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var reason string
	if _, _, err := d.Discover(ctx, func(text string) { reason = text; cancel() }); err == nil || !strings.Contains(reason, "earlier release") {
		t.Errorf("got %v, and the reason %q", err, reason)
	}
}
