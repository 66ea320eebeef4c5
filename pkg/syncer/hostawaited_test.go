package syncer

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestHostAheadIsNotTakenBack is about the moment between UpdateHostFirst and the
// write of the virtual object that it is for.
func TestHostAheadIsNotTakenBack(t *testing.T) {
	t.Parallel()
	key := theKey()
	ahead := func(t *testing.T) (*bench, func() int32) {
		t.Helper()
		c := clocktesting.NewFakeClock(testStart())
		host := hostService("v1")
		host.Spec.Ports = []corev1.ServicePort{{Port: 81}}
		b := newBench(services(), c, newFakeServer("virtual", c, service(func(s *corev1.Service) { s.UID = "v1" })), newFakeServer("host", c, host))
		setAwaits(host, b.virtualView.Get(key).GetResourceVersion())
		b.hostServer.put(host)
		b.refresh()
		return b, func() int32 {
			t.Helper()
			return b.hostServer.at(&corev1.Service{}, translate.Hashed(testCluster(), key)).(*corev1.Service).Spec.Ports[0].Port
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
		if err := b.settle(t, key); err != nil || port() != 80 {
			t.Errorf("a change that never came must be taken back: port %d, %v", port(), err)
		}
	})
	t.Run("Arrived", func(t *testing.T) {
		t.Parallel()
		b, port := ahead(t)
		b.virtualServer.put(service(func(s *corev1.Service) { s.UID, s.Spec.Ports = "v1", []corev1.ServicePort{{Port: 82}} }))
		if err := b.settle(t, key); err != nil || port() != 82 {
			t.Errorf("once the virtual object has changed it counts, whatever it became: port %d, %v", port(), err)
		}
	})
}
