package syncer

import (
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestExpectations(t *testing.T) {
	t.Parallel()
	at := func(uid, version string) client.Object {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), ResourceVersion: version}}
	}
	grace := func(s int64) *int64 { return &s }
	tests := map[string]struct {
		reason string
		do     func(m *expectations, c *clocktesting.FakeClock) bool
		want   bool
	}{
		"NothingKnown": {"Without a write a cache is believed.", func(m *expectations, _ *clocktesting.FakeClock) bool {
			return m.isStale(Host, theKey(), nil)
		}, false},
		"NotYetThere": {"An object that was just made is missing in a late cache.", func(m *expectations, _ *clocktesting.FakeClock) bool {
			m.recordWrite(Host, theKey(), at("a", "10"))
			return m.isStale(Host, theKey(), nil)
		}, true},
		"Older": {"A cache may show an older state.", func(m *expectations, _ *clocktesting.FakeClock) bool {
			m.recordWrite(Host, theKey(), at("a", "10"))
			return m.isStale(Host, theKey(), at("a", "9"))
		}, true},
		"OlderObject": {"A cache may show an older object of the name.", func(m *expectations, _ *clocktesting.FakeClock) bool {
			m.recordWrite(Host, theKey(), at("b", "10"))
			return m.isStale(Host, theKey(), at("a", "9"))
		}, true},
		"CaughtUp": {"A cache that shows the write is believed.", func(m *expectations, _ *clocktesting.FakeClock) bool {
			m.recordWrite(Host, theKey(), at("a", "10"))
			return m.isStale(Host, theKey(), at("a", "10"))
		}, false},
		"NewerWrite": {"A binding made a version that its answer did not name.", func(m *expectations, _ *clocktesting.FakeClock) bool {
			m.recordNewerWrite(Virtual, theKey(), at("a", "10"))
			return m.isStale(Virtual, theKey(), at("a", "10"))
		}, true},
		"SurpassedSeen": {"Any newer version shows that write.", func(m *expectations, _ *clocktesting.FakeClock) bool {
			m.recordNewerWrite(Virtual, theKey(), at("a", "10"))
			return m.isStale(Virtual, theKey(), at("a", "11"))
		}, false},
		"OtherSide": {"The sides are apart.", func(m *expectations, _ *clocktesting.FakeClock) bool {
			m.recordWrite(Virtual, theKey(), at("a", "10"))
			return m.isStale(Host, theKey(), nil)
		}, false},
		"Forgotten": {"What a watch says is gone is gone.", func(m *expectations, _ *clocktesting.FakeClock) bool {
			m.recordWrite(Host, theKey(), at("a", "10"))
			m.forget(Host, theKey())
			return m.isStale(Host, theKey(), nil)
		}, false},
		"Expired": {"An expectation does not hold for ever.", func(m *expectations, c *clocktesting.FakeClock) bool {
			m.recordWrite(Host, theKey(), at("a", "10"))
			c.Step(expectationLife)
			return m.isStale(Host, theKey(), nil)
		}, false},
		"OlderForLonger": {"A cache that shows an older version is late.", func(m *expectations, c *clocktesting.FakeClock) bool {
			m.recordWrite(Host, theKey(), at("a", "10"))
			c.Step(2 * expectationLife)
			return m.isStale(Host, theKey(), at("a", "9"))
		}, true},
		"OlderForEver": {"A cache is not waited for for ever.", func(m *expectations, c *clocktesting.FakeClock) bool {
			m.recordWrite(Host, theKey(), at("a", "10"))
			c.Step(lateLife)
			return m.isStale(Host, theKey(), at("a", "9"))
		}, false},
		"DeletingAgain": {"A delete without an effect is asked for again.", func(m *expectations, c *clocktesting.FakeClock) bool {
			m.recordDelete(Host, theKey(), at("a", "10"), nil)
			c.Step(expectationLife)
			return m.isDeletePending(Host, theKey(), at("a", "11"), nil)
		}, false},
		"Deleting": {"A delete is not asked for twice.", func(m *expectations, _ *clocktesting.FakeClock) bool {
			m.recordDelete(Host, theKey(), at("a", "10"), grace(30))
			return m.isDeletePending(Host, theKey(), at("a", "11"), grace(30))
		}, true},
		"DeletingAnother": {"A delete is of one object.", func(m *expectations, _ *clocktesting.FakeClock) bool {
			m.recordDelete(Host, theKey(), at("a", "10"), nil)
			return m.isDeletePending(Host, theKey(), at("b", "11"), nil)
		}, false},
		"DeletingFaster": {"A shorter grace period is news.", func(m *expectations, _ *clocktesting.FakeClock) bool {
			m.recordDelete(Host, theKey(), at("a", "10"), grace(30))
			return m.isDeletePending(Host, theKey(), at("a", "11"), grace(1))
		}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clocktesting.NewFakeClock(testStart())
			if got := tc.do(newExpectations(c), c); got != tc.want {
				t.Errorf("%s Got %t", tc.reason, got)
			}
		})
	}
}

// TestExpectationsOfGoneObjectsAreDropped checks that nothing stays of objects that nobody asks
// about any more.
func TestExpectationsOfGoneObjectsAreDropped(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	m := newExpectations(c)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{UID: "a", ResourceVersion: "10"}}
	for i := range 3000 {
		key := types.NamespacedName{Namespace: "web", Name: strconv.Itoa(i)}
		switch i % 3 {
		case 0:
			m.recordWrite(Host, key, object)
		case 1:
			m.recordDelete(Virtual, key, object, nil)
		default:
			m.await(key, object)
		}
	}
	c.Step(lateLife)
	m.recordWrite(Host, theKey(), object)
	m.await(theKey(), object)
	if len(m.writes.entries) != 1 || len(m.writes.order) != 1 || len(m.awaited.entries) != 1 || len(m.awaited.order) != 1 {
		t.Errorf("Only the new ones must be left, got %d writes and %d awaited", len(m.writes.entries), len(m.awaited.entries))
	}
}

// TestExpectationEndsWithItsObject checks that the watch drops an expectation as soon as it shows
// that the object is gone.
func TestExpectationEndsWithItsObject(t *testing.T) {
	t.Parallel()
	for _, what := range []watchEvent{eventDeleted, eventMissing} {
		e, _, _ := newTestEngine(t, configMaps())
		r := e.runners["configmaps"]
		object := virtualMap(func(m *corev1.ConfigMap) { m.ResourceVersion = "10" })
		h := &handler{runner: r, side: Virtual, own: true}
		m := r.reconciler.expectations
		m.recordWrite(Virtual, theKey(), object)
		h.recordSighting(theKey(), object, what)
		if len(m.writes.entries) != 0 || m.isStale(Virtual, theKey(), nil) {
			t.Errorf("event %v: %d expectations are left", what, len(m.writes.entries))
		}
	}
}
