//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// user is somebody at a terminal, with a kubeconfig of the host.
type user struct {
	t          *testing.T
	kubeconfig string
}

// newUser returns a user whose kubeconfig is a copy of the host's.
func newUser(t *testing.T) *user {
	t.Helper()
	data, err := os.ReadFile(hostKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	u := &user{t: t, kubeconfig: filepath.Join(t.TempDir(), "config")}
	if err := os.WriteFile(u.kubeconfig, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return u
}

// command returns a command of the user.
func (u *user) command(program string, args ...string) *exec.Cmd {
	cmd := newCommand(program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+u.kubeconfig)
	return cmd
}

// sublet runs sublet and returns what it printed to standard output.
func (u *user) sublet(args ...string) string {
	u.t.Helper()
	return mustRun(u.t, u.command(filepath.Join(root, "bin", "sublet"), args...))
}

// checkFormat prints each check with its status.
const checkFormat = `jsonpath={range .checks[*]}{.name} {.status}: {.message}{"\n"}{end}`

// check runs sublet check, which must find nothing that failed, and returns each check with its status.
func (u *user) check(args ...string) string {
	u.t.Helper()
	out := u.sublet(append([]string{"check", "-o", checkFormat}, args...)...)
	u.t.Log(out)
	return out
}

// kubectl runs kubectl in the current context.
func (u *user) kubectl(args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := u.command("kubectl", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.String())
	}
	return stdout.String(), nil
}

// currentContext returns the current context, or nothing.
func (u *user) currentContext() string {
	out, _ := u.kubectl("config", "current-context")
	return strings.TrimSpace(out)
}

// TestCommandLine goes the way of a user: create, connect, kubectl, upgrade, list, disconnect and
// delete. In between, the control plane dies, and so do the processes of the tunnel.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	t.Run("binary", testBinary)
	t.Run("wrong", testWrong)
	t.Run("in cluster", testInCluster)
	const name, namespace = "walk", "tenant-walk"
	u := newUser(t)
	before := u.currentContext()
	t.Cleanup(func() { _ = helm("uninstall", name, "-n", namespace, "--ignore-not-found").Run() })
	t.Cleanup(func() { _ = u.command(filepath.Join(root, "bin", "sublet"), "disconnect", "--all").Run() })

	settings := []string{"--set", "controlPlane.statefulSet.persistence.volumeClaim.enabled=false"}
	for _, value := range testValues() {
		settings = append(settings, "--set", value)
	}
	u.check(append([]string{name}, settings...)...)
	began := time.Now()
	u.sublet(append([]string{"create", name, "--connect"}, settings...)...)
	eventually(t, "nodes", func(context.Context) error {
		if nodes, err := u.kubectl("get", "nodes", "-o", "name"); err != nil || !strings.Contains(nodes, "node/") {
			return errors.Join(err, fmt.Errorf("got %q", nodes))
		}
		return nil
	})
	figure("cli_create_connect", time.Since(began).Seconds(), "s")
	if current := u.currentContext(); !strings.HasPrefix(current, "sublet_walk_tenant-walk_") {
		t.Errorf("the current context is %q", current)
	}

	t.Run("create again", func(t *testing.T) {
		cmd := u.command(filepath.Join(root, "bin", "sublet"), "create", name)
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 7 || !bytes.Contains(out, []byte("--upgrade")) {
			t.Errorf("create of one that exists: %v\n%s", err, out)
		}
	})
	t.Run("upgrade to a wrong expression", func(t *testing.T) {
		const patches = `sync.toHost.pods.patches=[{"path":"spec.priorityClassName","expression":"val"}]`
		out, err := u.command(filepath.Join(root, "bin", "sublet"), "upgrade", name, "--set-json", patches).CombinedOutput()
		const want = "sync.toHost.pods.patches[0].expression: Invalid value: \"val\": line 1, column 1: undeclared reference"
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 2 || !bytes.Contains(out, []byte(want)) {
			t.Errorf("want exit code 2 and %s: %v\n%s", want, err, out)
		}
	})
	t.Run("check", func(t *testing.T) {
		out := ""
		eventually(t, "all parts are healthy", func(context.Context) error {
			text, err := u.command(filepath.Join(root, "bin", "sublet"), "check", "-o", checkFormat, name).CombinedOutput()
			if out = string(text); err != nil {
				return fmt.Errorf("%w: %s", err, text)
			}
			return nil
		})
		if !strings.Contains(out, "parts ok") || !strings.Contains(out, "replicas ok") || !strings.Contains(out, "virtual-api ok") {
			t.Errorf("check of one that exists:\n%s", out)
		}
		// Another one in the same namespace has all that a dry run needs.
		out = u.check(append([]string{"other", "--namespace", namespace, "--pull"}, settings...)...)
		for _, want := range []string{"api ok", "clock ok", "permissions ok", "install ok", "pod ok", "image ok"} {
			if !strings.Contains(out, want) {
				t.Errorf("check lacks %q:\n%s", want, out)
			}
		}
	})
	t.Run("list", func(t *testing.T) {
		out := u.sublet("list", "-A", "-o", "jsonpath={range .items[*]}{.metadata.name} {.status.phase} {.status.store}{end}")
		if !strings.Contains(out, "walk Ready etcd.embedded") {
			t.Errorf("list: %q", out)
		}
	})
	t.Run("command", func(t *testing.T) {
		other := newUser(t)
		data, err := os.ReadFile(other.kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		if out := other.sublet("connect", name, "--", "kubectl", "get", "namespaces", "-o", "name"); !strings.Contains(out, "namespace/kube-system") {
			t.Errorf("connect -- kubectl get namespaces: %q", out)
		}
		other.sublet("connect", name, "--", "kubectl", "get", "pods")
		after, err := os.ReadFile(other.kubeconfig)
		if err != nil || !bytes.Equal(data, after) {
			t.Errorf("connect with a command changed the kubeconfig (%v)", err)
		}
	})
	t.Run("top", func(t *testing.T) {
		if out := u.sublet("top", "-A", "-o", "jsonpath={.items[*].metadata.name}"); !strings.Contains(out, name) {
			t.Errorf("top: %q", out)
		}
	})
	t.Run("debug collect", func(t *testing.T) {
		bundle := filepath.Join(t.TempDir(), "bundle.tar.gz")
		u.sublet("debug", "collect", name, "--file", bundle)
		out := mustRun(t, newCommand("tar", "-xzOf", bundle, "sublet-debug/control-plane/parts.json", "sublet-debug/release/secrets.json", "sublet-debug/release/values.json", "sublet-debug/contents.txt"))
		if !strings.Contains(out, `"healthy": true`) || !strings.Contains(out, name+"-kubeconfig") || strings.Contains(out, "certificate-authority") {
			t.Errorf("the bundle has:\n%s", out)
		}
	})
	t.Run("rotate", func(t *testing.T) {
		before, err := u.kubectl("config", "view", "--raw", "--minify", "-o", "jsonpath={.users[0].user.client-certificate-data}")
		if err != nil {
			t.Fatal(err)
		}
		u.sublet("kubeconfig", "rotate", name, "--timeout", patience.String())
		after, err := u.kubectl("config", "view", "--raw", "--minify", "-o", "jsonpath={.users[0].user.client-certificate-data}")
		if err != nil || after == before || after == "" {
			t.Errorf("the context has the same certificate after a rotation: %v", err)
		}
		if _, err := u.kubectl("get", "namespace", "kube-system"); err != nil {
			t.Errorf("after a rotation: %v", err)
		}
	})
	t.Run("kill", func(t *testing.T) {
		killServer(t, name)
		u.answers(t, "the tunnel after a kill of the control plane")
	})
	t.Run("kill of the tunnel", func(t *testing.T) { testKillTunnel(t, u) })
	t.Run("side by side", func(t *testing.T) { testSideBySide(t, u, name) })
	t.Run("upgrade", func(t *testing.T) {
		u.sublet("upgrade", name, "--set", "logging.verbosity=1")
		u.answers(t, "the tunnel after an upgrade")
		u.sublet("create", name, "--upgrade", "--connect=false")
		u.answers(t, "the tunnel after a create with --upgrade")
		// The programs take turns, and what somebody has changed by hand keeps neither from its settings.
		mustRun(t, helm("upgrade", name, filepath.Join(root, "chart"), "-n", namespace, "--reuse-values", "--set", "logging.verbosity=2"))
		mustRun(t, hostKubectl("-n", namespace, "set", "resources", "statefulset", name, "--limits=memory=3Gi"))
		u.sublet("upgrade", name, "--set", "logging.verbosity=1")
		u.answers(t, "the tunnel after an upgrade by Helm")
		if out := u.sublet("version", "--host-timeout", patience.String()); !strings.Contains(out, name) {
			t.Errorf("version lacks the server: %s", out)
		}
	})
	t.Run("direct", func(t *testing.T) { testDirect(t, u, name) })

	u.sublet("disconnect")
	if current := u.currentContext(); current != before {
		t.Errorf("after disconnect, the current context is %q, and was %q", current, before)
	}
	eventually(t, "the end of the tunnel", func(context.Context) error {
		if keepers, servers := u.tunnels(); len(keepers)+len(servers) > 0 {
			return fmt.Errorf("keepers %v, and %v serve", keepers, servers)
		}
		return nil
	})
	u.sublet("delete", name, "--yes", "--delete-namespace")
	eventually(t, "namespace "+namespace, func(ctx context.Context) error {
		_, err := hostClient.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("the namespace is still there"))
	})
}
