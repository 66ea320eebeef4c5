package hostlab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree makes files below a folder, each with its content.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestHierarchies(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		files   map[string]string
		want    []string
		wantErr bool
	}{
		"Version1": {
			reason: "Each controller has a tree of its own.",
			files:  map[string]string{"memory/tasks": "", "cpu/tasks": "", "unified/cgroup.procs": ""},
			want:   []string{"cpu", "memory", "unified"},
		},
		"Version2": {
			reason: "One tree has all controllers, and its folders are cgroups, not controllers.",
			files:  map[string]string{"cgroup.controllers": "cpu memory", "memory/cgroup.procs": ""},
			want:   []string{"."},
		},
		"None": {
			reason:  "Without cgroups there is no kubelet.",
			files:   map[string]string{"readme": ""},
			wantErr: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := tree(t, tc.files)
			found, err := cgroupRoots(root)
			if (err != nil) != tc.wantErr {
				t.Fatalf("%s\nhierarchies: %v", tc.reason, err)
			}
			var got []string
			for _, dir := range found {
				relative, err := filepath.Rel(root, dir)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, relative)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nhierarchies: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestCgroupsComeAndGo(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{
		"memory/tasks": "", "cpuset/cpuset.cpus": "0-1\n", "cpuset/cpuset.mems": "0\n",
	})
	if err := makeCgroups(root); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(root, "cpuset", cgroupName)
	for file, want := range map[string]string{"cpuset.cpus": "0-1\n", "cpuset.mems": "0\n"} {
		got, err := os.ReadFile(filepath.Join(own, file))
		if err != nil || string(got) != want {
			t.Errorf("%s = %q, %v; want %q: an empty cpuset takes no process", file, got, err, want)
		}
		// The kernel's files vanish with their cgroup; ours do not.
		if err := os.Remove(filepath.Join(own, file)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "memory", cgroupName, "pods", "one"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := removeCgroups(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	for _, parent := range []string{"memory", "cpuset"} {
		if _, err := os.Stat(filepath.Join(root, parent, cgroupName)); err == nil {
			t.Errorf("a cgroup is left in %s", parent)
		}
		if _, err := os.Stat(filepath.Join(root, parent)); err != nil {
			t.Errorf("the machine's own %s was touched: %v", parent, err)
		}
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	self := fmt.Sprintf("%d\n", os.Getpid())
	root := tree(t, map[string]string{
		"memory/cgroup.procs":                                 "1\n",
		"memory/" + cgroupName + "/cgroup.procs":              "",
		"memory/" + cgroupName + "/pods/a/cgroup.procs":       self,
		"cpu/" + cgroupName + "/pods/a/cgroup.procs":          self + "4194305\n",
		"memory/somebody-else/" + cgroupName + "/other.procs": "1\n",
	})
	got, err := containerProcesses(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].pid != os.Getpid() {
		t.Errorf("members = %v, want this process, once, and nobody outside our cgroup", got)
	}
}

func TestSysctlsComeBack(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"vm/overcommit_memory": "0\n", "kernel/panic": "0\n", "fs/inotify/max_user_instances": "128\n"})
	file := filepath.Join(t.TempDir(), "sysctls")
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	if err := saveSysctls(root, file); err != nil {
		t.Fatal(err)
	}
	if got := read("fs/inotify/max_user_instances"); got == "128" {
		t.Error("the limit that is too low for many pods was not raised")
	}
	if err := os.WriteFile(filepath.Join(root, "kernel/panic"), []byte("10"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := saveSysctls(root, file); err != nil { // of a host that is up: must not take the new for the old
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to do
		if err := restoreSysctls(root, file); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"kernel/panic": "0", "fs/inotify/max_user_instances": "128", "vm/overcommit_memory": "0"} {
		if got := read(name); got != want {
			t.Errorf("%s = %s after down, want %s", name, got, want)
		}
	}
}

func TestMountPoints(t *testing.T) {
	t.Parallel()
	l := newLocalHost(t)
	if err := os.MkdirAll(l.path("run"), 0o755); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	if err := os.Mkdir(filepath.Join(base, "theirs"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ours", "busy", "theirs"} {
		if err := l.mountPoint(filepath.Join(base, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "busy", "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := l.removeState(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"ours": false, "busy": true, "theirs": true} {
		_, err := os.Stat(filepath.Join(base, name))
		if there := err == nil; there != want {
			t.Errorf("folder %s is there: %v, want %v", name, there, want)
		}
	}
}

func TestForgetKeepsBinaries(t *testing.T) {
	t.Parallel()
	l := newLocalHost(t)
	for _, file := range []string{"bin/hostd", "log/etcd.log", "state/etcd/member", "pki/ca.key", "kubeconfig", "images.tar"} {
		if err := writeChanged(l.path(file), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.removeState(); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{
		"bin/hostd": true, "log/etcd.log": true, "state/etcd": false, "pki": false, "kubeconfig": false, "images.tar": false,
	} {
		_, err := os.Stat(l.path(file))
		if there := err == nil; there != want {
			t.Errorf("%s is there after down: %v, want %v", file, there, want)
		}
	}
}
