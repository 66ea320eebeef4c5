//go:build e2e

package hostlab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bench is a namespace of a real host, and kubectl to work in it.
type bench struct {
	host      *Host
	cluster   *Cluster
	namespace string
}

func (b bench) command(args ...string) *exec.Cmd {
	return exec.Command(b.cluster.Kubectl, append([]string{"--kubeconfig", b.cluster.Kubeconfig, "-n", b.namespace}, args...)...)
}

func (b bench) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := runForOutput(b.command(args...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// TestHost shows that a pod on the local host can do what pods do. The host stays
// up: it is the one that other tests use.
func TestHost(t *testing.T) {
	host := newHost(t, Options{Out: os.Stderr})
	cluster, err := host.Up(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := bench{host: host, cluster: cluster, namespace: fmt.Sprintf("host-test-%d", time.Now().Unix())}
	b.kubectl(t, "create", "namespace", b.namespace)
	t.Cleanup(func() { _ = b.command("delete", "namespace", b.namespace, "--wait=false").Run() })
	b.kubectl(t, "apply", "-f", "testdata/work.yaml")
	b.kubectl(t, "wait", "--for=condition=Ready", "pod/shell", "--timeout=2m")
	b.kubectl(t, "rollout", "status", "deployment/web", "--timeout=2m")

	serviceIP := b.kubectl(t, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	nodePort := b.kubectl(t, "get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}")
	for name, tc := range map[string]struct {
		reason string
		args   []string
		want   string
	}{
		"Version":   {"The host tells the version it was built from.", []string{"version"}, "Server Version: v1."},
		"Logs":      {"The kubelet serves logs.", []string{"logs", "shell"}, "hello from the shell"},
		"Exec":      {"The kubelet runs commands.", []string{"exec", "shell", "--", "id", "-u"}, "1000"},
		"Volume":    {"Claims get volumes that a user without rights may write.", []string{"exec", "shell", "--", "cat", "/data/note"}, "kept"},
		"ClusterIP": {"Services work by address.", []string{"exec", "shell", "--", "wget", "-qO-", "-T", "5", "http://" + serviceIP + "/hostname"}, "web-"},
		"DNS":       {"Services work by name.", []string{"exec", "shell", "--", "wget", "-qO-", "-T", "5", "http://web/hostname"}, "web-"},
		"Outside":   {"Names outside the cluster resolve.", []string{"exec", "shell", "--", "nslookup", outsideName}, machineIP},
		"API":       {"Pods call the API server.", []string{"exec", "deploy/web", "--", "wget", "-qO-", "http://127.0.0.1:8080/api?path=/version"}, "gitVersion"},
		"NodePort":  {"Node ports are open.", []string{"exec", "shell", "--", "wget", "-qO-", "-T", "5", "http://" + cluster.NodeIP + ":" + nodePort + "/hostname"}, "web-"},
		"Metrics":   {"The kubelet tells what pods use.", []string{"get", "--raw", "/api/v1/nodes/" + nodeName + "/proxy/stats/summary"}, `"shell"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := poll(t.Context(), 30*time.Second, name, func(context.Context) error {
				out, err := runForOutput(b.command(tc.args...))
				if err == nil && !strings.Contains(out, tc.want) {
					err = fmt.Errorf("kubectl %v says %q, want %q", tc.args, out, tc.want)
				}
				return err
			})
			if err != nil {
				t.Errorf("%s\n%v", tc.reason, err)
			}
		})
	}
	t.Run("LoadImage", func(t *testing.T) {
		t.Parallel()
		b.testLoadImage(t)
	})
}

// testLoadImage checks that a loaded image runs under its name, both when pods pull
// it and when they must not.
func (b bench) testLoadImage(t *testing.T) {
	const image = "registry.example/loaded:1"
	all, err := ownRecipes(t.Context(), filepath.Join(DefaultDir(), "bin"))
	if err != nil {
		t.Fatal(err)
	}
	loaded := all[len(all)-1]
	loaded.names = []string{image}
	file := filepath.Join(t.TempDir(), "loaded.tar")
	if err := writeImages(file, []recipe{loaded}); err != nil {
		t.Fatal(err)
	}
	if err := b.host.LoadImage(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	for _, policy := range []string{"Always", "Never"} {
		pod := "loaded-" + strings.ToLower(policy)
		b.kubectl(t, "run", pod, "--image="+image, "--image-pull-policy="+policy)
		b.kubectl(t, "wait", "--for=condition=Ready", "pod/"+pod, "--timeout=1m")
	}
}
