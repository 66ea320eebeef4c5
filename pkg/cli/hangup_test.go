package cli_test

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// TestClosedTerminal closes the terminal of a command, which ends it by SIGHUP. No credentials stay in a temporary
// folder, and no context stays that leads nowhere.
func TestClosedTerminal(t *testing.T) {
	t.Parallel()
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("SIGHUP is ignored, as by a shell with nohup, and so it is by each command")
	}
	file, virtual := connectable(t)
	connect := func(args ...string) (*exec.Cmd, *bufio.Reader) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"connect", "shop", "--kubeconfig=" + file, "--virtual-server=" + virtual.URL}, args...)...)
		cmd.Env = append(os.Environ(), runVariable+"=1")
		cmd.WaitDelay = patience // what it has started keeps its output open
		reader, writer := io.Pipe()
		cmd.Stdout, cmd.Stderr = writer, writer
		t.Cleanup(func() { _ = reader.Close() })
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, bufio.NewReader(reader)
	}
	hangUp := func(cmd *exec.Cmd) (code int) {
		t.Helper()
		// A shell that ends sends it to its jobs, and so does the kernel. Only the first one counts. The
		// pause leaves the command a core; no result depends on it.
		go func() {
			for cmd.Process.Signal(syscall.SIGHUP) == nil {
				time.Sleep(time.Millisecond)
			}
		}()
		err := cmd.Wait()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return exit.ExitCode()
		}
		if err != nil {
			t.Error(err)
		}
		return 0
	}

	command, out := connect("--", "sh", "-c", "echo $KUBECONFIG; exec sleep 600")
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	own := strings.TrimSpace(line)
	if _, err := os.Stat(own); err != nil {
		t.Errorf("the command has no kubeconfig: %v", err)
	}
	if code := hangUp(command); code != 128+int(syscall.SIGHUP) {
		t.Errorf("the command had the exit code %d", code)
	}
	if _, err := os.Stat(own); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("credentials stay in %s: %v", own, err)
	}

	foreground, out := connect("--foreground", "--context-name=front")
	if line, err := out.ReadString('\n'); err != nil || !strings.Contains(line, "Context front leads to") {
		t.Fatalf("it prints %q: %v", line, err)
	}
	if code := hangUp(foreground); code != 0 {
		t.Errorf("the exit code is %d", code)
	}
	config, err := clientcmd.LoadFromFile(file)
	if err != nil || config.Contexts["front"] != nil || config.CurrentContext != "east" {
		t.Errorf("the contexts are %v, and %s is current: %v", config.Contexts, config.CurrentContext, err)
	}
}
