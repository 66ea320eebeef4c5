package syncer

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestHostAheadIsNotTakenBack reconciles between UpdateHostFirst and the write of the
// virtual object that it is for.
func TestHostAheadIsNotTakenBack(t *testing.T) {
	t.Parallel()
	key := theKey()
	ahead := func(t *testing.T) (*bench, func() int32) {
		t.Helper()
		c := clocktesting.NewFakeClock(testStart())
		host := hostService("v1")
		host.Spec.Ports = []corev1.ServicePort{{Port: 81}}
		b := newBench(services(), c, newFakeServer("virtual", c, service(func(s *corev1.Service) { s.UID = "v1" })), newFakeServer("host", c, host))
		translate.SetAnnotation(host, labels.Awaits, b.virtualView.Get(key).GetResourceVersion())
		b.hostServer.add(host)
		b.refresh()
		return b, func() int32 {
			t.Helper()
			return b.hostServer.get(&corev1.Service{}, translate.Hashed(testCluster(), key)).(*corev1.Service).Spec.Ports[0].Port
		}
	}
	t.Run("Waits", func(t *testing.T) {
		t.Parallel()
		b, port := ahead(t)
		again, err := b.reconcile(t.Context(), key)
		if err != nil || again == 0 || port() != 81 {
			t.Errorf("a host object that was changed first must wait for the virtual one: port %d, again %s, %v", port(), again, err)
		}
	})
	t.Run("GivesUp", func(t *testing.T) {
		t.Parallel()
		b, port := ahead(t)
		if _, err := b.reconcile(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		b.clock.Step(expectationLife + time.Second)
		if err := b.reconcileUntilQuiet(t, key); err != nil || port() != 80 {
			t.Errorf("a change that never came must be taken back: port %d, %v", port(), err)
		}
	})
	t.Run("Arrived", func(t *testing.T) {
		t.Parallel()
		b, port := ahead(t)
		b.virtualServer.add(service(func(s *corev1.Service) { s.UID, s.Spec.Ports = "v1", []corev1.ServicePort{{Port: 82}} }))
		if err := b.reconcileUntilQuiet(t, key); err != nil || port() != 82 {
			t.Errorf("once the virtual object has changed it counts, whatever it became: port %d, %v", port(), err)
		}
	})
}

// TestTwoReplicasAwait changes the host copy first in one engine, while the engine of
// another replica reconciles with its own caches and memory.
func TestTwoReplicasAwait(t *testing.T) {
	t.Parallel()
	e, virtual, host := firstBench(t)
	virtual.add(service(func(s *corev1.Service) { s.UID = "v1" }))
	host.add(hostService("v1"))
	other := newBench(services(), clocktesting.NewFakeClock(testStart()), virtual, host)
	changed := virtual.get(&corev1.Service{}, theKey()).(*corev1.Service)
	changed.Spec.Ports = []corev1.ServicePort{{Port: 81}}
	if _, err := e.UpdateHostFirst(t.Context(), "services", changed, false); err != nil {
		t.Fatal(err)
	}
	hostKey := translate.Hashed(testCluster(), theKey())
	port := func() int32 { return host.get(changed, hostKey).(*corev1.Service).Spec.Ports[0].Port }
	for range 3 {
		other.refresh()
		if _, err := other.reconcile(t.Context(), theKey()); err != nil || port() != 81 {
			t.Fatalf("A change that is on its way must not be taken back by another replica: port %d, %v", port(), err)
		}
	}
	if err := virtual.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if err := other.reconcileUntilQuiet(t, theKey()); err != nil || port() != 81 {
		t.Errorf("The change must last once it has come: port %d, %v", port(), err)
	}
	if _, ok := host.get(changed, hostKey).GetAnnotations()[labels.Awaits]; ok {
		t.Error("The next reconcile must clear the mark")
	}
}

// TestLostRaceOfAHostObject reconciles a host object that is not ours in another replica,
// between the two halves of a change. It does not know of the change and writes it up.
// The tenant's request then meets a conflict, is sent again, and ends the same.
func TestLostRaceOfAHostObject(t *testing.T) {
	t.Parallel()
	e, host, _ := changeBench(t)
	c := clocktesting.NewFakeClock(testStart())
	virtual := newFakeServer("virtual", c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "n", Labels: map[string]string{"a": "1"}, Annotations: map[string]string{labels.HostUID: "h"},
	}})
	other := newBench(nodes(), c, virtual, host)
	key := types.NamespacedName{Name: "n"}
	request := virtual.get(&corev1.Node{}, key)
	if err := e.ChangeHostFirst(t.Context(), "nodes", request, relabel, false); err != nil {
		t.Fatal(err)
	}
	if err := other.reconcileUntilQuiet(t, key); err != nil {
		t.Fatal(err)
	}
	request.SetLabels(map[string]string{"a": "1", "b": "2"})
	if err := virtual.Update(t.Context(), request); !apierrors.IsConflict(err) {
		t.Fatalf("The request must meet the change that came first, got %v", err)
	}
	again := virtual.get(&corev1.Node{}, key)
	again.SetLabels(map[string]string{"a": "1", "b": "2"})
	if err := virtual.Update(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if err := other.reconcileUntilQuiet(t, key); err != nil {
		t.Fatal(err)
	}
	for side, labelled := range map[string]client.Object{"virtual": virtual.get(again, key), "host": host.get(again, key)} {
		if labelled.GetLabels()["b"] != "2" {
			t.Errorf("The change must last on the %s side, got %v", side, labelled.GetLabels())
		}
	}
}
