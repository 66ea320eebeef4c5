//go:build e2e

package e2e

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// maxCommandLine is what the command line may have, in MiB.
const maxCommandLine = 70

// testBinary checks that the command line is one small static binary.
func testBinary(t *testing.T) {
	path := filepath.Join(root, "bin", "sublet")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	size := float64(info.Size()) / (1 << 20)
	figure("cli_size", size, "MiB")
	if size > maxCommandLine {
		t.Errorf("it has %.1f MiB", size)
	}
	binary, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = binary.Close() }()
	for _, program := range binary.Progs {
		if program.Type == elf.PT_INTERP || program.Type == elf.PT_DYNAMIC {
			t.Errorf("it is linked dynamically: it has %s", program.Type)
		}
	}
}

// answers waits until kubectl gets an answer in the context with the given flags.
func (u *user) answers(t *testing.T, what string, flags ...string) {
	t.Helper()
	eventually(t, what, func(context.Context) error {
		_, err := u.kubectl(append([]string{"get", "namespace", "kube-system", "--request-timeout", "5s"}, flags...)...)
		return err
	})
}

// tunnels returns the processes of tunnels with the given kubeconfig: the keepers, and those that serve.
func (u *user) tunnels() (keepers, servers []int) {
	u.t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		u.t.Fatal(err)
	}
	for _, file := range files {
		environment, _ := os.ReadFile(file)
		if !strings.Contains("\x00"+string(environment), "\x00KUBECONFIG="+u.kubeconfig+"\x00") {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		switch text := string(line); {
		case !strings.Contains(text, "forward-in-background"):
		case strings.Contains(text, "--stage=serve"):
			servers = append(servers, pid)
		default:
			keepers = append(keepers, pid)
		}
	}
	return keepers, servers
}

// awaitTunnels waits until there are so many of both processes of tunnels, and returns them.
func (u *user) awaitTunnels(t *testing.T, count int) (keepers, servers []int) {
	t.Helper()
	eventually(t, "processes of the tunnels", func(context.Context) error {
		if keepers, servers = u.tunnels(); len(keepers) != count || len(servers) != count {
			return fmt.Errorf("keepers %v, and %v serve, want %d of each", keepers, servers, count)
		}
		return nil
	})
	return keepers, servers
}

// testKillTunnel kills each process of the tunnel in turn. kubectl works again, in the same context.
func testKillTunnel(t *testing.T, u *user) {
	for _, which := range []string{"server", "keeper", "server"} {
		keepers, servers := u.awaitTunnels(t, 1)
		victim := servers[0]
		if which == "keeper" {
			victim = keepers[0]
		}
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			t.Fatalf("cannot kill the %s: %v", which, err)
		}
		u.answers(t, "the tunnel after a kill of its "+which)
	}
}

// testSideBySide connects twice with one kubeconfig, and once with that of somebody else. All answer at the same time.
func testSideBySide(t *testing.T, u *user, name string) {
	other := newUser(t)
	t.Cleanup(func() { _ = other.command(filepath.Join(root, "bin", "sublet"), "disconnect", "--all").Run() })
	first := u.currentContext()
	u.sublet("connect", name, "--context-name", "second", "--keep-context")
	other.sublet("connect", name)
	u.answers(t, "the first connection", "--context", first)
	u.answers(t, "the second connection", "--context", "second")
	other.answers(t, "the connection of somebody else")
	u.awaitTunnels(t, 2)
	if _, err := u.kubectl("config", "delete-context", "second"); err != nil {
		t.Error(err)
	}
	u.awaitTunnels(t, 1)
	u.answers(t, "the first connection, without the second")
}

// testDirect gives the virtual API a port of the nodes. The exported kubeconfig follows, and a connection needs no tunnel.
func testDirect(t *testing.T, u *user, name string) {
	u.sublet("upgrade", name, "--set", "controlPlane.service.spec.type=NodePort")
	want := "https://" + net.JoinHostPort(nodeAddress(t), "")
	eventually(t, "the address in the kubeconfig", func(context.Context) error {
		if text := u.sublet("kubeconfig", name); !strings.Contains(text, want) {
			return fmt.Errorf("it does not lead to %s", want)
		}
		return nil
	})
	eventually(t, "a connection to the node", func(context.Context) error {
		out, err := u.command(filepath.Join(root, "bin", "sublet"), "connect", name, "--context-name", "direct", "--keep-context").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	server, err := u.kubectl("config", "view", "--minify", "--context", "direct", "-o", "jsonpath={.clusters[0].cluster.server}")
	if err != nil || !strings.HasPrefix(server, want) {
		t.Errorf("the context leads to %q, want %s: %v", server, want, err)
	}
	u.answers(t, "the connection without a tunnel", "--context", "direct")
	u.awaitTunnels(t, 1) // Those of the first connection.
	if _, err := u.kubectl("config", "delete-context", "direct"); err != nil {
		t.Error(err)
	}
}

// testWrong gives wrong inputs that only a real host refuses. Each has one message, what to do and an exit code.
func testWrong(t *testing.T) {
	u := newUser(t)
	const name, namespace = "wrong", "tenant-wrong"
	t.Cleanup(func() {
		_ = hostKubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false").Run()
	})
	emptyDir, image := "controlPlane.statefulSet.persistence.volumeClaim.enabled=false", testValues()[0]
	for _, c := range []struct {
		reason, want string
		code         int
		args         []string
	}{
		{"a missing namespace", "namespace nowhere does not exist", 3, []string{"create", name, "-n", "nowhere", "--create-namespace=false"}},
		{"an unknown setting", "no such key", 2, []string{"create", name, "--set", "controlPlane.statefulset.env=a"}},
		{"settings that exclude each other", "the chart sets", 2, []string{"create", name, "--set", "controlPlane.statefulSet.env[0].name=POD_IP,controlPlane.statefulSet.env[0].value=a-password"}},
		{"no permission", "forbidden", 4, []string{"list", "-A", "--as", "somebody"}},
		{"an image that is missing", "is not ready after", 6, []string{"create", name, "--timeout", "5s", "--set", emptyDir, "--set", image, "--set", "controlPlane.statefulSet.image.tag=missing"}},
		{"one that is not ready", "has not written Secret", 6, []string{"connect", name}},
	} {
		out, err := u.command(filepath.Join(root, "bin", "sublet"), c.args...).CombinedOutput()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != c.code {
			t.Errorf("%s: %v, want exit code %d", c.reason, err, c.code)
		}
		text := string(out)
		if !strings.Contains(text, c.want) || strings.Count(text, "error: ") != 1 || !strings.Contains(text, "\nhint: ") ||
			strings.Contains(text, "goroutine ") || strings.Contains(text, "a-password") {
			t.Errorf("%s: lacks %q, a hint or has too much:\n%s", c.reason, c.want, text)
		}
	}
	if out, err := u.command(filepath.Join(root, "bin", "sublet"), "delete", name, "--yes", "--delete-namespace").CombinedOutput(); err != nil {
		t.Errorf("delete of one that is not ready: %v\n%s", err, out)
	}
}
