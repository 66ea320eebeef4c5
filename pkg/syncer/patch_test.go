package syncer

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// hostilePatch changes all that identifies a copy, and one thing that it may change.
func hostilePatch(_ Scope, request PatchRequest) error {
	o := request.Copy
	o.SetNamespace("kube-system")
	o.SetName("coredns")
	o.SetUID("stolen")
	o.SetResourceVersion("1")
	o.SetOwnerReferences([]metav1.OwnerReference{{Kind: "Node", Name: "n1"}})
	o.SetFinalizers([]string{"x/y"})
	o.SetLabels(map[string]string{labels.Cluster: "another", "team": "a", labels.TenantPrefix + "app": "stolen"})
	o.SetAnnotations(map[string]string{
		labels.VirtualName: "other", labels.VirtualUID: "other", labels.HostUID: "other", labels.LastApplied: "all", "note": "patched",
	})
	request.Original.SetName("changed") // The original is a copy, too.
	return nil
}

func TestPatchNeverReachesIdentity(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	hostKey := translate.Hashed(testCluster(), theKey())
	t.Run("Host", func(t *testing.T) {
		t.Parallel()
		virtual, host := newFakeServer("virtual", c, virtualMap()), newFakeServer("host", c)
		b := newBench(configMaps(), c, virtual, host)
		b.kind.patch = hostilePatch
		if err := b.reconcileUntilQuiet(t, theKey()); err != nil {
			t.Fatal(err)
		}
		got := host.get(&corev1.ConfigMap{}, hostKey)
		if got == nil || len(host.list(&corev1.ConfigMap{}, labelsEverything())) != 1 {
			t.Fatal("The copy must have its own name")
		}
		if _, uid, ours := translate.Origin(testCluster(), translate.Hashed, got); !ours || uid != "v1" {
			t.Errorf("The copy must prove whose it is, got %v %v", got.GetLabels(), got.GetAnnotations())
		}
		if got.GetLabels()["team"] != "a" || got.GetAnnotations()["note"] != "patched" {
			t.Errorf("Other keys are the patch's to set, got %v %v", got.GetLabels(), got.GetAnnotations())
		}
		if _, tenant := got.GetLabels()[labels.TenantPrefix+"app"]; tenant || got.GetAnnotations()[labels.LastApplied] != "" || len(got.GetFinalizers()) != 0 {
			t.Errorf("A patch must not write what Sublet writes, got %v %v", got.GetLabels(), got.GetAnnotations())
		}
		if owners := got.GetOwnerReferences(); len(owners) != 1 || owners[0].UID != testCluster().Anchor.UID {
			t.Errorf("The copy must belong to the anchor, got %v", owners)
		}
		if virtual.get(&corev1.ConfigMap{}, theKey()).GetUID() != "v1" {
			t.Error("The original must not change")
		}
	})
	t.Run("Virtual", func(t *testing.T) {
		t.Parallel()
		virtual, host := newFakeServer("virtual", c), newFakeServer("host", c, node("h1"))
		b := newBench(nodes(), c, virtual, host)
		b.kind.patch = hostilePatch
		key := client.ObjectKeyFromObject(node("h1"))
		if err := b.reconcileUntilQuiet(t, key); err != nil {
			t.Fatal(err)
		}
		got := virtual.get(&corev1.Node{}, key)
		if got == nil || got.GetAnnotations()[labels.HostUID] != "h1" || got.GetLabels()["team"] != "a" || got.GetAnnotations()[labels.VirtualName] != "" {
			t.Errorf("The virtual copy must keep its identity and take the rest, got %v", got)
		}
	})
}

// TestWithoutPatch undoes an earlier patch of a copy on the host, and touches no other copy.
func TestWithoutPatch(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	hostKey := translate.Hashed(testCluster(), theKey())
	for _, patched := range []bool{true, false} {
		virtual, host := newFakeServer("virtual", c, virtualMap()), newFakeServer("host", c)
		b := newBench(configMaps(), c, virtual, host)
		b.kind.patch = func(_ Scope, request PatchRequest) error {
			annotations := map[string]string{"note": "patched"}
			if patched {
				annotations[labels.Patched] = "{}"
			}
			request.Copy.SetAnnotations(annotations)
			return nil
		}
		if err := b.reconcileUntilQuiet(t, theKey()); err != nil {
			t.Fatal(err)
		}
		b.kind.patch = nil
		b.kind = b.kind.WithoutPatch(func(_ Scope, request PatchRequest) error {
			if request.Before == nil {
				t.Error("the copy has no state before")
			}
			request.Copy.SetAnnotations(nil)
			return nil
		})
		if err := b.reconcileUntilQuiet(t, theKey()); err != nil {
			t.Fatal(err)
		}
		got := host.get(&corev1.ConfigMap{}, hostKey).GetAnnotations()
		if _, ok := got["note"]; ok == patched || got[labels.VirtualName] == "" {
			t.Errorf("patched: %t: the annotations are %v", patched, got)
		}
	}
}
