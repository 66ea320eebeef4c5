package storage

import (
	"os"
	"path/filepath"
	"testing"
)

const gib = 1 << 30

func TestQuota(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason string
		limits limits
		want   int64
	}{
		{"without any limit it is etcd's own default", limits{}, 2 * gib},
		{"the default claim holds the file, and its content once more", limits{volume: 5 * gib, reserve: 160 * mib}, 4192 * mib * 4 / 9},
		{"a claim of 1 GiB leaves room for log, reserve and defragmentation", limits{volume: gib, reserve: 160 * mib}, 608 * mib * 4 / 9},
		{"a large volume does not make a large quota", limits{volume: 100 * gib}, 2 * gib},
		{"the default memory limit is the smaller one", limits{volume: 5 * gib, memory: 2 * gib}, 1792 * mib / 5},
		{"and the volume is, if that is small", limits{volume: gib, memory: 8 * gib}, 768 * mib * 4 / 9},
		{"a virtual cluster must fit in any case", limits{volume: 100 * mib, memory: 128 * mib}, minQuota},
	} {
		if got := tc.limits.quota(); got != tc.want {
			t.Errorf("%s: got %d MiB, want %d MiB", tc.reason, got/mib, tc.want/mib)
		}
	}
}

func TestReadLimits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "db"), make([]byte, 3*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	if used := usedBy(dir); used != 3*mib {
		t.Errorf("usedBy: got %d, want %d", used, 3*mib)
	}
	if l := readLimits(dir, 2*mib, 1); l.volume != 2*mib || l.reserve != 1 {
		t.Errorf("the operator's size counts if it is the smaller one: got %+v", l)
	}
	if l := readLimits(dir, 1<<60, 0); l.volume <= 3*mib || l.volume == 1<<60 {
		t.Errorf("the file system's size counts if it is the smaller one: got %+v", l)
	}
}

// TestFollowMemory resizes the container of a running store.
func TestFollowMemory(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason         string
		fixed          int64 // the operator's quota
		memory, volume int64
		want           int64
	}{
		{"as at the start", 0, 2 * gib, 5 * gib, 1792 * mib / 5},
		{"more memory", 0, 4 * gib, 5 * gib, 3840 * mib / 5},
		{"less memory", 0, gib, 5 * gib, 768 * mib / 5},
		{"the limit is gone", 0, 0, 5 * gib, 4192 * mib * 4 / 9},
		{"the volume bounds it", 0, 64 * gib, gib, 608 * mib * 4 / 9},
		{"what the operator has set stays", 70 * mib, gib, 5 * gib, 70 * mib},
	} {
		e := &Etcd{Quota: tc.fixed, memory: func() int64 { return tc.memory }}
		e.limits = limits{volume: tc.volume, reserve: 160 * mib}
		e.quota.Store(tc.fixed)
		e.followMemory()
		if got := e.quota.Load(); got != tc.want {
			t.Errorf("%s: got %d MiB, want %d MiB", tc.reason, got/mib, tc.want/mib)
		}
		if largest := e.limits.ceiling(); tc.fixed == 0 && largest < tc.want {
			t.Errorf("%s: the database allows %d MiB only", tc.reason, largest/mib)
		}
	}
}
