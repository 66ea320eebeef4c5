package kinds

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// TestReferenceDelay follows pods that wait for copies that never come.
func TestReferenceDelay(t *testing.T) {
	t.Parallel()
	for reason, c := range map[string]struct {
		start, end time.Duration
		most       int
	}{
		"a new pod looks often at first, and seldom later": {0, referencePatience, 25},
		"the clock of the server that created it is ahead": {-time.Second, referencePatience, 45},
		"a clock that is far ahead says nothing":           {-time.Hour, -time.Hour, 0},
		"an old pod does not wait":                         {referencePatience, referencePatience, 0},
	} {
		age, looks := c.start, 0
		for pause := referenceDelay(age); pause > 0; pause = referenceDelay(age) {
			age += pause
			looks++
		}
		if age != c.end || looks > c.most {
			t.Errorf("%s: %d looks until %s, want at most %d until %s", reason, looks, age, c.most, c.end)
		}
	}
}

// TestPodWaitsForContent creates a pod whose Secret has changed at the same time.
func TestPodWaitsForContent(t *testing.T) {
	t.Parallel()
	const setting = "sync.toHost.pods"
	row := Table()[slices.IndexFunc(Table(), func(r Row) bool { return r.Setting == setting })]
	r := readCase(t, "testdata/pods/required-copied.in.yaml", func(o Options) syncer.Kind { return row.makers[0](row.Name(), o) }, setting, true)
	isCurrent := false
	r.step.IsCopied = func(virtual, host client.Object) bool {
		return isCurrent && virtual.GetName() == "keys" && host.GetNamespace() == testCluster().Namespace
	}
	for _, isCurrent = range []bool{false, true} {
		key := client.ObjectKeyFromObject(r.virtual)
		again, err := r.step.Reconcile(t.Context(), key)
		if err != nil || (again > 0) == isCurrent {
			t.Errorf("the copy is current: %t, and the pod is reconciled again after %s, %v", isCurrent, again, err)
		}
		if host := r.sides[syncer.Host].ofKey(&corev1.Pod{}, r.step.HostKey(key)); (host != nil) != isCurrent {
			t.Errorf("the copy is current: %t, and there is a host pod: %t", isCurrent, host != nil)
		}
	}
}
