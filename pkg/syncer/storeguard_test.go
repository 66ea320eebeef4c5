package syncer

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// anchorWith returns the anchor of the test cluster with these annotations.
func anchorWith(annotations map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: "tenant", Name: "shop-anchor", UID: "anchor-uid", Annotations: annotations,
	}}
}

func TestStoreGuard(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason  string
		anchor  *corev1.ConfigMap
		version int // of the virtual store
		restore string
		opened  [2]string
		held    string
		record  map[string]string
	}{
		"First": {
			reason: "The first store of a release is recorded.",
			anchor: anchorWith(nil), version: 7,
			record: map[string]string{labels.Store: "store-1", labels.StoreRevision: "7"},
		},
		"Same": {
			reason: "The recorded store may go on, and its progress is recorded.",
			anchor: anchorWith(map[string]string{labels.Store: "store-1", labels.StoreRevision: "5"}), version: 7,
			record: map[string]string{labels.Store: "store-1", labels.StoreRevision: "7"},
		},
		"Another": {
			reason: "Another store holds deletes back, and the record stays.",
			anchor: anchorWith(map[string]string{labels.Store: "store-0", labels.StoreRevision: "5"}), version: 7,
			held:   "is not the recorded one",
			record: map[string]string{labels.Store: "store-0", labels.StoreRevision: "5"},
		},
		"Older": {
			reason: "A store that was restored from a backup holds deletes back.",
			anchor: anchorWith(map[string]string{labels.Store: "store-1", labels.StoreRevision: "10"}), version: 9,
			held:   "older than the recorded 10",
			record: map[string]string{labels.Store: "store-1@10", labels.StoreRevision: "10"},
		},
		"OpenedOlder": {
			reason: "What a start writes does not hide that the store was older before.",
			anchor: anchorWith(map[string]string{labels.Store: "store-1", labels.StoreRevision: "10"}), version: 30,
			opened: [2]string{"9", "10"},
			held:   "older than the recorded 10",
			record: map[string]string{labels.Store: "store-1@10", labels.StoreRevision: "10"},
		},
		"OlderBeforeARestart": {
			reason: "A restart does not hide it either.",
			anchor: anchorWith(map[string]string{labels.Store: "store-1@10", labels.StoreRevision: "10"}), version: 50,
			opened: [2]string{"40", "10"},
			held:   "older than the recorded 10",
			record: map[string]string{labels.Store: "store-1@10", labels.StoreRevision: "10"},
		},
		"OlderAccepted": {
			reason:  "An older store that the operator accepts is recorded.",
			anchor:  anchorWith(map[string]string{labels.Store: "store-1@10", labels.StoreRevision: "10", labels.AcceptStore: "store-1"}),
			version: 50, opened: [2]string{"9", "10"},
			record: map[string]string{labels.Store: "store-1", labels.StoreRevision: "50"},
		},
		"OpenedBeforeAnotherLeader": {
			reason: "Another leader has recorded a version since this replica has opened the store.",
			anchor: anchorWith(map[string]string{labels.Store: "store-1", labels.StoreRevision: "20"}), version: 30,
			opened: [2]string{"9", "8"},
			record: map[string]string{labels.Store: "store-1", labels.StoreRevision: "30"},
		},
		"Restored": {
			reason: "A store that was restored holds deletes back, although it began above the recorded version.",
			anchor: anchorWith(map[string]string{labels.Store: "store-1", labels.StoreRevision: "10"}), version: 1010, restore: "restoreA",
			held:   "annotate configmap shop-anchor sublet.dev/accept-store=store-1.restoreA",
			record: map[string]string{labels.Store: "store-1", labels.StoreRevision: "10"},
		},
		"RestoreAccepted": {
			reason:  "A restore that the operator accepts is recorded.",
			anchor:  anchorWith(map[string]string{labels.Store: "store-1", labels.StoreRevision: "10", labels.AcceptStore: "store-1.restoreA"}),
			version: 1010, restore: "restoreA",
			record: map[string]string{labels.Store: "store-1.restoreA", labels.StoreRevision: "1010"},
		},
		"RestoredBefore": {
			reason: "A restore is accepted once.",
			anchor: anchorWith(map[string]string{labels.Store: "store-1.restoreA", labels.StoreRevision: "1010"}), version: 1011, restore: "restoreA",
			record: map[string]string{labels.Store: "store-1.restoreA", labels.StoreRevision: "1011"},
		},
		"RestoredAgain": {
			reason: "Each restore is another one.",
			anchor: anchorWith(map[string]string{labels.Store: "store-1.restoreA", labels.StoreRevision: "1010"}), version: 2010, restore: "restoreB",
			held:   "is not the recorded one",
			record: map[string]string{labels.Store: "store-1.restoreA", labels.StoreRevision: "1010"},
		},
		"Accepted": {
			reason: "A store that the operator accepts is recorded, and the word of the operator counts once.",
			anchor: anchorWith(map[string]string{labels.Store: "store-0", labels.StoreRevision: "10", labels.AcceptStore: "store-1"}), version: 7,
			record: map[string]string{labels.Store: "store-1", labels.StoreRevision: "7"},
		},
		"AcceptedAnother": {
			reason: "The operator accepts one store, not whichever comes.",
			anchor: anchorWith(map[string]string{labels.Store: "store-0", labels.StoreRevision: "5", labels.AcceptStore: "store-9"}), version: 7,
			held:   "annotate configmap shop-anchor sublet.dev/accept-store=store-1",
			record: map[string]string{labels.Store: "store-0", labels.StoreRevision: "5", labels.AcceptStore: "store-9"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clocktesting.NewFakeClock(testStart())
			virtual := newFakeServer("virtual", c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "store-1"}})
			virtual.version = tc.version
			host := newFakeServer("host", c, tc.anchor)
			g := newStoreGuard(virtual, host, testCluster(), c, logr.Discard())
			g.restore = func() string { return tc.restore }
			g.opened = func() (opened, recorded string) { return tc.opened[0], tc.opened[1] }
			released := 0
			g.onRelease = func() { released++ }
			if g.onHold() == "" {
				t.Error("Deletes must be on hold until the stores are compared")
			}
			if err := g.check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := g.onHold(); tc.held == "" && got != "" || !strings.Contains(got, tc.held) {
				t.Errorf("%s\non hold because: %q, want: %q", tc.reason, got, tc.held)
			}
			if want := tc.held == ""; want != (released == 1) {
				t.Errorf("%s\nreleased %d times", tc.reason, released)
			}
			got := host.get(&corev1.ConfigMap{}, types.NamespacedName{Namespace: "tenant", Name: "shop-anchor"}).GetAnnotations()
			if diff := cmp.Diff(tc.record, got); diff != "" {
				t.Errorf("%s\n-want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestStoreGuardWaitsForBothSides(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	g := newStoreGuard(newFakeServer("virtual", c), newFakeServer("host", c, anchorWith(nil)), testCluster(), c, logr.Discard())
	if err := g.check(t.Context()); err == nil || g.onHold() == "" {
		t.Errorf("Without a virtual store there is nothing to compare: %v, held %q", err, g.onHold())
	}
}

func TestStoreGuardRecordsProgressOnly(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual := newFakeServer("virtual", c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "store-1"}})
	host := newFakeServer("host", c, anchorWith(nil))
	g := newStoreGuard(virtual, host, testCluster(), c, logr.Discard())
	for range 3 {
		if err := g.check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"patch"}, writesOf(host)); diff != "" {
		t.Errorf("A store that did not move must cost no write (-want +got):\n%s", diff)
	}
	g.observeRevision("90")
	g.observeRevision("80")
	if err := g.check(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := host.get(&corev1.ConfigMap{}, types.NamespacedName{Namespace: "tenant", Name: "shop-anchor"}).GetAnnotations()[labels.StoreRevision]
	if got != "90" {
		t.Errorf("The newest version that was seen must be recorded, got %q", got)
	}
}

// TestStoreGuardFindsRestoreInPlace puts the store back to an earlier state while the engine runs. What is written next hides
// it from the next start, but for what the anchor records.
func TestStoreGuardFindsRestoreInPlace(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual := newFakeServer("virtual", c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "store-1"}})
	host := newFakeServer("host", c, anchorWith(nil))
	g := newStoreGuard(virtual, host, testCluster(), c, logr.Discard())
	version := "100"
	g.current = func(context.Context) (string, error) { return version, nil }
	for range 2 { // The first check compares.
		if err := g.check(t.Context()); err != nil || g.onHold() != "" {
			t.Fatal(err, g.onHold())
		}
		g.observeRevision("100")
	}
	version = "60"
	var ended []error
	g.onPutBack = func(reason error) { ended = append(ended, reason) }
	host.before = func(string, client.Object) error { return errors.New("the host is away") }
	if err := g.check(t.Context()); err == nil || len(ended) > 0 || !strings.Contains(g.onHold(), "is at version 60, and was at 100") {
		t.Errorf("%v, ended %v, on hold because %q", err, ended, g.onHold())
	}
	host.before = nil
	virtual.version = 150 // The tenant has written since then.
	if err := g.check(t.Context()); err != nil || len(ended) != 1 || g.onHold() == "" {
		t.Errorf("%v, ended %v, on hold because %q", err, ended, g.onHold())
	}

	next := newStoreGuard(virtual, host, testCluster(), c, logr.Discard())
	next.opened = func() (opened, recorded string) { return "140", "100" }
	if err := next.check(t.Context()); err != nil || !strings.Contains(next.onHold(), "older than the recorded 100") {
		t.Errorf("the next start releases all deletes: %v, %q", err, next.onHold())
	}
	accepted := anchorWith(map[string]string{labels.Store: "store-1@100", labels.StoreRevision: "100", labels.AcceptStore: "store-1"})
	last := newStoreGuard(virtual, newFakeServer("host", c, accepted), testCluster(), c, logr.Discard())
	last.current = func(context.Context) (string, error) { return "150", nil }
	for range 2 {
		if err := last.check(t.Context()); err != nil || last.onHold() != "" {
			t.Errorf("an accepted store stays on hold: %v, %q", err, last.onHold())
		}
	}
}
