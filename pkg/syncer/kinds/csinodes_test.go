package kinds

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// TestPatchedTopology lets a patch of the operator hide topology keys. The copy stays, and is
// created again only if the driver itself has other keys.
func TestPatchedTopology(t *testing.T) {
	t.Parallel()
	kind := syncer.Define("csinodes", CSINodes(testOptions())).WithPatch(func(_ syncer.Scope, change syncer.PatchRequest) error {
		node, _ := change.Copy.(*storagev1.CSINode)
		node.Spec.Drivers[0].TopologyKeys = []string{"topology.example.com/zone"}
		return nil
	})
	virtual, host := newShelf(syncer.Virtual, kind.Indexes()), newShelf(syncer.Host, kind.Indexes())
	original := func(keys ...string) *storagev1.CSINode {
		return &storagev1.CSINode{
			ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "uid-1"},
			Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: "csi.example.com", TopologyKeys: keys}}},
		}
	}
	virtual.putObject(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}})
	side := func(s *shelf) syncer.StepSide {
		return syncer.StepSide{Client: s, Objects: func() []client.Object { return s.ofType(&storagev1.CSINode{}) }}
	}
	step := syncer.Step{
		Kind: kind, Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()), Virtual: side(virtual), Host: side(host),
	}
	reconcile := func() {
		t.Helper()
		for range 3 {
			if _, err := step.Reconcile(t.Context(), types.NamespacedName{Name: "node-1"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	host.putObject(original("rack"))
	reconcile()
	if virtual.deleted != nil || len(virtual.ofType(&storagev1.CSINode{})) != 1 {
		t.Fatalf("the requests are %v", virtual.requests)
	}
	host.putObject(original("rack", "zone"))
	reconcile()
	if virtual.deleted == nil || len(virtual.ofType(&storagev1.CSINode{})) != 1 {
		t.Errorf("with other keys the requests are %v", virtual.requests)
	}
}
