package cli_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sublet-dev/sublet/api/release"
)

// threeHosts returns a kubeconfig with three hosts. The last one hangs.
func threeHosts(t *testing.T) (file string) {
	t.Helper()
	end := make(chan struct{})
	hanging := newFakeHost(t, func(http.ResponseWriter, *http.Request) bool {
		<-end
		return true
	})
	t.Cleanup(func() { close(end) }) // before the server closes
	return kubeconfigOf(t, "east", map[string]*fakeHost{
		"east": newFakeHost(t, nil, release.Release{Name: "shop", Namespace: "tenant-shop"}, release.Release{Name: "blog", Namespace: "tenant-blog"}),
		"west": newFakeHost(t, nil, release.Release{Name: "lab", Namespace: "tenant-lab"}),
		"xlow": hanging,
	})
}

// TestListInTime lists the same hosts with the default limit. It takes no more than 3 seconds, but for moments in
// which the machine is busy with something else.
func TestListInTime(t *testing.T) { //nolint:paralleltest // other tests of this package would keep the machine busy
	file := threeHosts(t)
	var took []time.Duration
	for range 20 {
		began := time.Now()
		out, errOut, code := runSublet(t, file, "list", "--all-contexts", "--no-headers")
		if code != 0 || !strings.Contains(out, "no answer in 2s") {
			t.Fatalf("exit code %d: %s\n%s", code, errOut, out)
		}
		took = append(took, time.Since(began))
		if took[len(took)-1] <= 3*time.Second && strings.Count(out, " Ready ") == 3 {
			return
		}
	}
	t.Errorf("it took %v, or the hosts that answer are missing", took)
}

// TestListAllContexts lists three hosts, of which one hangs.
func TestListAllContexts(t *testing.T) {
	t.Parallel()
	file := threeHosts(t)
	began := time.Now()
	out, errOut, code := runSublet(t, file, "list", "--all-contexts", "--host-timeout=15s")
	if code != 0 || errOut != "" {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	lines := [][]string{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		lines = append(lines, append(fields[:11:11], fields[12:]...)) // without the age
	}
	want := [][]string{
		{"HOST", "NAMESPACE", "NAME", "STATUS", "VERSION", "REPLICAS", "STORE", "NODES", "PODS", "CPU", "MEMORY", "REASON"},
		{"east", "tenant-blog", "blog", "Ready", "0.1.0", "1/1", "etcd.embedded", "2", "2", "200m", "128Mi", "-"},
		{"east", "tenant-shop", "shop", "Ready", "0.1.0", "1/1", "etcd.embedded", "2", "2", "200m", "128Mi", "-"},
		{"west", "tenant-lab", "lab", "Ready", "0.1.0", "1/1", "etcd.embedded", "2", "2", "200m", "128Mi", "-"},
		{"xlow", "-", "-", "Unreachable", "-", "-", "-", "-", "-", "-", "-", "no", "answer", "in", "15s"},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("-want +got:\n%s\n%s", diff, out)
	}
	// The time is bounded by the slowest host, not by their sum. A busy machine may add to it.
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %s", took)
	}
}

// TestListFormats prints one host in each format.
func TestListFormats(t *testing.T) {
	t.Parallel()
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, nil, release.Release{Name: "shop", Namespace: "tenant-shop"})})
	for _, c := range []struct {
		reason, want string
		args         []string
	}{
		{"names", "virtualcluster.cli.sublet.dev/shop\n", []string{"-A", "-o", "name"}},
		{"jsonpath", "shop Ready 2", []string{"-A", "-o", "jsonpath={.items[0].metadata.name} {.items[0].status.phase} {.items[0].status.pods}"}},
		{"go-template", "tenant-shop", []string{"-A", "-o", "go-template={{range .items}}{{.metadata.namespace}}{{end}}"}},
		{"a namespace without any", "", []string{"-n", "default"}},
		{"a namespace with one, wide", "east", []string{"-n", "tenant-shop", "-o", "wide", "--no-headers"}},
		{"yaml", "kind: VirtualClusterList", []string{"-A", "-o", "yaml"}},
		{"json", `"kind": "VirtualCluster"`, []string{"-A", "-o", "json"}},
	} {
		out, errOut, code := runSublet(t, file, append([]string{"list"}, c.args...)...)
		if code != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit code %d, %q lacks %q; %s", c.reason, code, out, c.want, errOut)
		}
	}
}

// TestNamesAlone prints names of virtual clusters of two hosts, one of which refuses. That host is no line
// of its own, and its reason is not lost.
func TestNamesAlone(t *testing.T) {
	t.Parallel()
	file := kubeconfigOf(t, "east", map[string]*fakeHost{
		"east": newFakeHost(t, nil, release.Release{Name: "shop", Namespace: "tenant-shop"}), "west": newFakeHost(t, forbid),
	})
	for command, want := range map[string]string{"list": "virtualcluster.cli.sublet.dev/shop\n", "top": "virtualclusteruse.cli.sublet.dev/shop\n"} {
		out, errOut, code := runSublet(t, file, command, "--all-contexts", "--host-timeout=15s", "-o", "name")
		if out != want || code != 0 || !strings.Contains(errOut, "Warning: host west: cannot list StatefulSets: ") {
			t.Errorf("%s: exit code %d, %q; %s", command, code, out, errOut)
		}
	}
}
