package syncer

import (
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
