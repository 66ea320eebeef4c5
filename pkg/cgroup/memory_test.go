package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

const gib = 1 << 30

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
			if got := MemoryLimit(root); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}
