package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProviders(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		options Options
		want    string
	}{
		"Default":  {"Without a choice it is the real node.", Options{}, "*host.local"},
		"Local":    {"By name.", Options{Provider: "local"}, "*host.local"},
		"Kind":     {"By name.", Options{Provider: "kind"}, "*host.kind"},
		"Existing": {"By name.", Options{Provider: "existing"}, "*host.existing"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := tc.options.provider()
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%T", p)
			if got != tc.want {
				t.Errorf("%s\nprovider is %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
	if _, err := Up(t.Context(), Options{Provider: "cloud"}); err == nil || !strings.Contains(err.Error(), "local, kind or existing") {
		t.Errorf("Up with an unknown provider: %v, want the choices", err)
	}
}

func TestLoadImageNeedsAHost(t *testing.T) {
	t.Parallel()
	err := LoadImage(t.Context(), Options{Dir: t.TempDir()}, "images.tar")
	if err == nil || !strings.Contains(err.Error(), "not up") {
		t.Errorf("LoadImage without a host: %v, want that it is not up", err)
	}
}

func TestStatusOfNothing(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	up, err := Status(t.Context(), Options{Dir: t.TempDir(), Out: &out})
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
	options := Options{Provider: "existing", Kubeconfig: file}
	cluster, err := Up(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if cluster.Server != "https://host.example:6443" || cluster.Kubeconfig != file {
		t.Errorf("the cluster is %s by %s, want what the kubeconfig says", cluster.Server, cluster.Kubeconfig)
	}
	if err := cluster.LoadImage(t.Context(), "images.tar"); err == nil || !strings.Contains(err.Error(), "registry") {
		t.Errorf("LoadImage: %v, want the way out", err)
	}
	if err := Down(t.Context(), options); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("down touched somebody else's kubeconfig: %v", err)
	}
	if _, err := Up(t.Context(), Options{Provider: "existing", Kubeconfig: "/nowhere"}); err == nil || !strings.Contains(err.Error(), "/nowhere") {
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
	if err := Down(t.Context(), Options{Provider: "kind", Dir: dir}); err != nil {
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
	options := Options{Provider: "kind", Dir: t.TempDir(), Out: &out}
	if err := LoadImage(t.Context(), options, "images.tar"); err != nil {
		t.Fatal(err)
	}
	if up, err := Status(t.Context(), options); !up || err != nil {
		t.Errorf("Status = %v, %v; kind names our cluster", up, err)
	}
	want := []string{"load image-archive images.tar --name sublet-host", "get clusters"}
	if diff := cmp.Diff(want, calls()); diff != "" {
		t.Errorf("kind was called: -want, +got:\n%s", diff)
	}
}

func TestKindWithoutTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Up(t.Context(), Options{Provider: "kind", Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "docker") || !strings.Contains(err.Error(), "kind.sigs.k8s.io") {
		t.Errorf("Up without docker: %v, want what is missing and where to get it", err)
	}
}
