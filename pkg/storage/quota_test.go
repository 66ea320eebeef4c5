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

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason string
		files  map[string]string
		want   int64
	}{
		{"no cgroups", nil, 0},
		{"version 2 in a container", map[string]string{"sys/fs/cgroup/memory.max": "2147483648\n"}, 2 * gib},
		{"version 2 without a limit", map[string]string{"sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"version 1 in a container", map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n"}, gib},
		{"version 1 without a limit", map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		{"version 2 in a group of its own", map[string]string{
			"proc/self/cgroup":                       "0::/kubepods/pod1\n",
			"sys/fs/cgroup/memory.max":               "max",
			"sys/fs/cgroup/kubepods/pod1/memory.max": "536870912",
		}, gib / 2},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for name, content := range tc.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := memoryLimit(root); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}
