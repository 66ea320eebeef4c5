package storage

import (
	"strings"
	"testing"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := metrics.NewKubeRegistry()
	m, err := newStoreMetrics(registry.Register)
	if err != nil {
		t.Fatal(err)
	}
	m.observe(Usage{Size: 3, InUse: 2, Quota: 7}, true)
	m.recordUp()
	want := `
# HELP sublet_store_alarm [ALPHA] 1 while the store takes deletes only because its quota is exceeded, otherwise 0.
# TYPE sublet_store_alarm gauge
sublet_store_alarm 1
# HELP sublet_store_in_use_bytes [ALPHA] Part of the database file that holds data, old revisions included.
# TYPE sublet_store_in_use_bytes gauge
sublet_store_in_use_bytes 2
# HELP sublet_store_quota_bytes [ALPHA] Size that the data may reach. Objects are created up to 90 % of it.
# TYPE sublet_store_quota_bytes gauge
sublet_store_quota_bytes 7
# HELP sublet_store_size_bytes [ALPHA] Size of the database file.
# TYPE sublet_store_size_bytes gauge
sublet_store_size_bytes 3
# HELP sublet_store_up [ALPHA] 1 while the store answers, otherwise 0.
# TYPE sublet_store_up gauge
sublet_store_up 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	again, err := newStoreMetrics(registry.Register)
	if err != nil || again.size != m.size {
		t.Errorf("a second store of the process has other metrics, %v: only the first ones are served", err)
	}
}

func TestCheckSize(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason  string
		inUse   int64
		alarmed bool
		healthy bool
		want    string
	}{
		{"room", 10, false, true, "Less than 75 %"},
		{"a warning before it is too late", 80, false, true, "From 90 % on nothing can be created"},
		{"no creates", 91, false, false, "nothing can be created. Delete objects"},
		{"no writes", 50, true, false, "only deletes succeed"},
	} {
		check := checkSize(Usage{Size: 100 * mib, InUse: tc.inUse * mib, Quota: 100 * mib}, tc.alarmed)
		if check.Name != "store size" || check.Healthy != tc.healthy || !strings.Contains(check.Message, tc.want) {
			t.Errorf("%s: got %+v, want healthy %t and %q", tc.reason, check, tc.healthy, tc.want)
		}
	}
	if checks := Embedded(t.TempDir()).checks(); len(checks) != 0 {
		t.Errorf("a store that does not run has checks: %+v", checks)
	}
}
