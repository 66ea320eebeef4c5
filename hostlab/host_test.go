package hostlab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newHost(t *testing.T, options Options) *Host {
	t.Helper()
	host, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return host
}

func TestProviders(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		options Options
		want    string
	}{
		"Default":  {"Without a choice it is the real node.", Options{}, "*hostlab.local"},
		"Local":    {"By name.", Options{Provider: "local"}, "*hostlab.local"},
		"Kind":     {"By name.", Options{Provider: "kind"}, "*hostlab.kind"},
		"Existing": {"By name.", Options{Provider: "existing"}, "*hostlab.existing"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := fmt.Sprintf("%T", newHost(t, tc.options).provider)
			if got != tc.want {
				t.Errorf("%s\nprovider is %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
	if _, err := New(Options{Provider: "cloud"}); err == nil || !strings.Contains(err.Error(), "local, kind or existing") {
		t.Errorf("New with an unknown provider: %v, want the choices", err)
	}
}

func TestLoadImageNeedsAHost(t *testing.T) {
	t.Parallel()
	err := newHost(t, Options{Dir: t.TempDir()}).LoadImage(t.Context(), "images.tar")
	if err == nil || !strings.Contains(err.Error(), "not up") {
		t.Errorf("LoadImage without a host: %v, want that it is not up", err)
	}
}

func TestStatusOfNothing(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	up, err := newHost(t, Options{Dir: t.TempDir(), Out: &out}).Status(t.Context())
	if up || err != nil {
		t.Errorf("Status = %v, %v; nothing is up", up, err)
	}
	if !strings.Contains(out.String(), "kubelet") || strings.Contains(out.String(), "runs") {
		t.Errorf("Status says:\n%s\nwant every daemon, gone", out.String())
	}
}

const kubeconfigText = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://host.example:6443"}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`

func TestExisting(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(kubeconfigText), 0o600); err != nil {
		t.Fatal(err)
	}
	host := newHost(t, Options{Provider: "existing", Kubeconfig: file})
	cluster, err := host.Up(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if cluster.Server != "https://host.example:6443" || cluster.Kubeconfig != file {
		t.Errorf("the cluster is %s by %s, want what the kubeconfig says", cluster.Server, cluster.Kubeconfig)
	}
	if err := host.LoadImage(t.Context(), "images.tar"); err == nil || !strings.Contains(err.Error(), "registry") {
		t.Errorf("LoadImage: %v, want what to do", err)
	}
	if err := host.Down(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("down touched somebody else's kubeconfig: %v", err)
	}
	if _, err := newHost(t, Options{Provider: "existing", Kubeconfig: "/nowhere"}).Up(t.Context()); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("Up without a kubeconfig: %v, want its path", err)
	}
}

// fakeTools puts a docker and a kind in PATH that write down how they are called.
func fakeTools(t *testing.T, clusters string) (calls func() []string) {
	t.Helper()
	dir := t.TempDir()
	journal := filepath.Join(dir, "journal")
	script := "#!/bin/sh\necho \"$*\" >>" + journal + "\ncase $1 in get) echo " + clusters + " ;; esac\n"
	for _, name := range []string{"docker", "kind"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() []string {
		text, err := os.ReadFile(journal)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
}

func TestKindDown(t *testing.T) {
	calls := fakeTools(t, kindName)
	dir := t.TempDir()
	if err := newHost(t, Options{Provider: "kind", Dir: dir}).Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"delete cluster --name sublet-host --kubeconfig " + filepath.Join(dir, "kind.kubeconfig")}
	if diff := cmp.Diff(want, calls()); diff != "" {
		t.Errorf("kind was called: -want, +got:\n%s", diff)
	}
}

func TestKindLoadImageAndStatus(t *testing.T) {
	calls := fakeTools(t, "other "+kindName)
	var out strings.Builder
	host := newHost(t, Options{Provider: "kind", Dir: t.TempDir(), Out: &out})
	if err := host.LoadImage(t.Context(), "images.tar"); err != nil {
		t.Fatal(err)
	}
	if up, err := host.Status(t.Context()); !up || err != nil {
		t.Errorf("Status = %v, %v; kind names our cluster", up, err)
	}
	want := []string{"load image-archive images.tar --name sublet-host", "get clusters"}
	if diff := cmp.Diff(want, calls()); diff != "" {
		t.Errorf("kind was called: -want, +got:\n%s", diff)
	}
}

func TestKindWithoutTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := newHost(t, Options{Provider: "kind", Dir: t.TempDir()}).Up(t.Context())
	if err == nil || !strings.Contains(err.Error(), "docker") || !strings.Contains(err.Error(), "kind.sigs.k8s.io") {
		t.Errorf("Up without docker: %v, want what is missing and where to get it", err)
	}
}
