package kinds

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// TestHostWatches checks what the kinds watch on the host. Those that are off by default watch
// nothing, and those that are on watch no more than is listed here.
func TestHostWatches(t *testing.T) {
	t.Parallel()
	var kinds []syncer.Kind
	for _, row := range Table() {
		defined := row.Define(testOptions())
		if row.State == Off && len(defined) > 0 {
			t.Errorf("%s is off, and costs the host the watches of %d kinds", row.Setting, len(defined))
		}
		kinds = append(kinds, defined...)
	}
	pods := []string{"ConfigMap", "Event", "Node", "Pod", "Secret"}
	services := []string{"EndpointSlice", "PersistentVolumeClaim", "Service", "StorageClass"}
	policies := []string{"NetworkPolicy", "PodDisruptionBudget"}
	want := slices.Sorted(slices.Values(slices.Concat(pods, services, policies)))
	if diff := cmp.Diff(want, hostWatches(t, kinds)); diff != "" {
		t.Errorf("each watch costs the host of every idle virtual cluster (-want +got):\n%s", diff)
	}
}

// hostWatches returns the types that kinds watch on the host. Kinds share the watch of a type.
func hostWatches(t *testing.T, kinds []syncer.Kind) []string {
	t.Helper()
	found := map[string]bool{}
	add := func(object client.Object) {
		gvk, err := apiutil.GVKForObject(object, scheme.Scheme)
		if err != nil {
			t.Fatal(err)
		}
		found[gvk.Kind] = true
	}
	for _, kind := range kinds {
		add(kind.NewHost())
		for _, watch := range kind.Watches() {
			if watch.Side == syncer.Host {
				add(watch.Object)
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
