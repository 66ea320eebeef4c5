package kubeconfig_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
)

// patience bounds waits on a busy machine.
const patience = time.Minute

// writer returns a process that writes the context of the given name.
func writer(ctx context.Context, file, name string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), writerVariable+"="+file+"|"+name)
	return cmd
}

// TestParallelWriters starts 50 processes that write one file at the same time. Nothing is lost.
func TestParallelWriters(t *testing.T) {
	t.Parallel()
	const writers = 50
	file := filepath.Join(t.TempDir(), "config")
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			if out, err := writer(t.Context(), file, fmt.Sprintf("w%d", i)).CombinedOutput(); err != nil {
				t.Errorf("writer %d: %v: %s", i, err, out)
			}
		})
	}
	group.Wait()
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Contexts) != writers || len(config.Clusters) != writers || len(config.AuthInfos) != writers {
		t.Errorf("%d contexts, %d clusters, %d users, want %d of each", len(config.Contexts), len(config.Clusters), len(config.AuthInfos), writers)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("files are left behind (%v): %v", err, entries)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestKilledWriter kills a process that writes all the time. The file is always whole, and the next
// writer is not kept out.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config")
	for round := range 8 {
		cmd := writer(t.Context(), file, fmt.Sprintf("forever-r%d", round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		written := 0
		for lines := bufio.NewScanner(out); written < 3+round && lines.Scan(); {
			written++
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		config, err := clientcmd.LoadFromFile(file)
		if err != nil {
			t.Fatalf("the file is broken: %v", err)
		}
		for i := range written {
			if name := fmt.Sprintf("r%d-%d", round, i); config.Contexts[name] == nil || config.Clusters[name] == nil || config.AuthInfos[name] == nil {
				t.Errorf("%s was written, and is gone", name)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := addContext(ctx, file, "after"); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("files are left behind (%v): %v", err, entries)
	}
}

// killHolder starts a process that holds the lock of a file, and kills it. The lock file stays.
func killHolder(t *testing.T, file string) {
	t.Helper()
	cmd := writer(t.Context(), file, holdName)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Errorf("the holder printed %q, %v", line, err)
	}
	// A reader takes no lock away from a process that lives.
	if _, err := kubeconfig.New(file).Load(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file + ".lock"); err != nil {
		t.Errorf("the lock of a living process is gone: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if _, err := os.Stat(file + ".lock"); err != nil {
		t.Errorf("the killed process left no lock: %v", err)
	}
}

// TestKilledHolder kills a process that holds the lock. Neither writers of ours nor kubectl, after any
// command of ours, are kept out.
func TestKilledHolder(t *testing.T) {
	t.Parallel()
	const before = "apiVersion: v1\nkind: Config\ncurrent-context: dev\n"
	for _, c := range []struct {
		reason string
		then   func(file string) error
	}{
		{"a writer takes it over", func(file string) error { return addContext(t.Context(), file, "after") }},
		{"a reader removes it", func(file string) error {
			_, err := kubeconfig.New(file).Load()
			return err
		}},
		{"kubectl writes after a reader", func(file string) error {
			kubectl, err := exec.LookPath("kubectl")
			if err != nil {
				return nil //nolint:nilerr // there is nothing to try
			}
			if _, err := kubeconfig.New(file).Load(); err != nil {
				return err
			}
			out, err := exec.CommandContext(t.Context(), kubectl, "--kubeconfig="+file, "config", "set-context", "after").CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}},
	} {
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		killHolder(t, file)
		if got, err := os.ReadFile(file); err != nil || string(got) != before {
			t.Errorf("%s: the file has become %q, %v", c.reason, got, err)
		}
		if err := c.then(file); err != nil {
			t.Errorf("%s: %v", c.reason, err)
		}
		if _, err := os.Stat(file + ".lock"); c.reason != "kubectl writes after a reader" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the lock stays: %v", c.reason, err)
		}
	}
}

// TestLockOfKubectl waits for kubectl's lock, and takes over one that is old.
func TestLockOfKubectl(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file+".lock", nil, 0); err != nil {
		t.Fatal(err)
	}
	young := time.Now().Add(time.Hour) // It must not become old on a busy machine.
	if err := os.Chtimes(file+".lock", young, young); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := addContext(ctx, file, "early"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), file+".lock") {
		t.Errorf("with a new lock: %v", err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file+".lock", old, old); err != nil {
		t.Fatal(err)
	}
	if err := addContext(t.Context(), file, "late"); err != nil {
		t.Errorf("with an old lock: %v", err)
	}
}

// TestSymbolicLink checks that a link stays a link, also one that leads nowhere yet.
func TestSymbolicLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link, target := filepath.Join(dir, "link"), filepath.Join(dir, "deep", "target")
	if err := os.Symlink(filepath.Join("deep", "target"), link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first", "second"} {
		if err := addContext(t.Context(), link, name); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v %v", info, err)
	}
	config, err := clientcmd.LoadFromFile(target)
	if err != nil || len(config.Contexts) != 2 {
		t.Errorf("the target has %v, %v", config, err)
	}
}

// TestMountedFile writes to a file that is mounted, as containers have one. Nothing can replace it.
func TestMountedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source, file := filepath.Join(dir, "source"), filepath.Join(dir, "config")
	for _, path := range []string{source, file} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount(source, file, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("cannot mount a file here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(file, 0); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"one", "two"} {
		if err := addContext(t.Context(), file, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{source, file} {
		if config, err := clientcmd.LoadFromFile(path); err != nil || config.Contexts["one"] == nil || config.Contexts["two"] == nil {
			t.Errorf("%s: %v, %v", path, config, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestKeepsText checks that comments, order, unknown fields and the style of lists stay.
func TestKeepsText(t *testing.T) {
	t.Parallel()
	const before = `# All clusters of the shop.
apiVersion: v1
kind: Config
current-context: dev # the default
users:
- name: ann # her own
  user:
    token: a
    futureField: {x: 1}
clusters:
# in the cellar
- cluster:
    server: https://one
    rack: 7
  name: one
contexts:
- context:
    cluster: one
    user: ann
  name: dev
x-notes: keep
`
	const after = `# All clusters of the shop.
apiVersion: v1
kind: Config
current-context: new # the default
users:
- name: ann # her own
  user:
    token: b
    futureField: {x: 1}
clusters:
# in the cellar
- cluster:
    server: https://two
    rack: 7
  name: one
contexts:
- context:
    cluster: one
    user: ann
  name: dev
- context:
    cluster: one
    user: ann
  name: new
x-notes: keep
`
	indented := strings.NewReplacer("\n- name", "\n  - name", "\n- c", "\n  - c", "\n  user:\n    token", "\n    user:\n      token", "\n    futureField", "\n      futureField",
		"\n    server", "\n      server", "\n    rack", "\n      rack", "\n  name", "\n    name", "\n    cluster:", "\n      cluster:", "\n    user: ann", "\n      user: ann", "\n# in", "\n  # in")
	for _, c := range []struct{ reason, before, after string }{
		{"lists as kubectl writes them", before, after},
		{"indented lists", indented.Replace(before), indented.Replace(after)},
	} {
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(c.before), 0o644); err != nil {
			t.Fatal(err)
		}
		name := "new"
		err := kubeconfig.New(file).Update(t.Context(), func(current *clientcmdapi.Config) (kubeconfig.Change, error) {
			cluster, user := current.Clusters["one"].DeepCopy(), current.AuthInfos["ann"].DeepCopy()
			cluster.Server, user.Token = "https://two", "b"
			return kubeconfig.Change{
				Clusters: map[string]*clientcmdapi.Cluster{"one": cluster}, Users: map[string]*clientcmdapi.AuthInfo{"ann": user},
				Contexts: map[string]*clientcmdapi.Context{name: {Cluster: "one", AuthInfo: "ann"}}, CurrentContext: &name,
			}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if diff := cmp.Diff(c.after, string(got)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", c.reason, err, diff)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", c.reason, info.Mode(), err)
		}
	}
}

// TestRefusesOthers checks that a file is left as it is if it cannot be changed safely.
func TestRefusesOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ reason, text string }{
		{"no map", "- a\n"},
		{"no YAML", "a: [\n"},
		{"two documents", "kind: Config\n---\nkind: Config\n"},
		{"a section that is no list", "clusters: {a: b}\n"},
	} {
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := addContext(t.Context(), file, "new"); err == nil {
			t.Errorf("%s: no error", c.reason)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != c.text {
			t.Errorf("%s: the file has become %q, %v", c.reason, got, err)
		}
	}
}

// TestConnection checks that a connection survives the file.
func TestConnection(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config")
	want := kubeconfig.Connection{Name: "shop", Namespace: "tenant-shop", HostContext: "kind", Previous: "dev", ID: "x"}
	err := kubeconfig.New(file).Update(t.Context(), func(*clientcmdapi.Config) (kubeconfig.Change, error) {
		entry, err := kubeconfig.ContextFor("shop", want)
		return kubeconfig.Change{Contexts: map[string]*clientcmdapi.Context{"shop": entry}}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	config, err := kubeconfig.New(file).Load()
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := kubeconfig.ConnectionOf(config.Contexts["shop"]); !ok || got != want {
		t.Errorf("got %+v, %v", got, ok)
	}
	if _, ok := kubeconfig.ConnectionOf(clientcmdapi.NewContext()); ok {
		t.Error("a plain context has a connection")
	}
}
