package connection

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sublet-dev/sublet/test/await"
	"github.com/sublet-dev/sublet/test/goroutines"
)

// needVariable names the file that must exist as long as somebody needs the tunnel of the test.
const needVariable = "SUBLET_TEST_TUNNEL"

func TestMain(m *testing.M) {
	if need := os.Getenv(needVariable); need != "" {
		if err := tunnelOfTest(need); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goroutines.Verify(m)
}

// tunnelOfTest runs one process of a tunnel. It answers each connection with its number and that of its parent.
func tunnelOfTest(need string) error {
	process := &tunnelProcess{
		arguments: os.Args[1:],
		serve: func(_ context.Context, listener net.Listener) error {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return err
				}
				_, _ = fmt.Fprintf(conn, "%d %d", os.Getpid(), os.Getppid())
				_ = conn.Close()
			}
		},
		awaitEnd: func(ctx context.Context) {
			for tick := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				if _, err := os.Stat(need); err != nil {
					return
				}
			}
		},
	}
	if strings.HasSuffix(strings.Join(os.Args, " "), stageFlag+StageServe) {
		return process.runServer(context.Background())
	}
	return process.runKeeper(context.Background(), os.NewFile(listenerFile, "listener"))
}

// TestKilledTunnel kills the process that serves a tunnel, and then its keeper, several times. The tunnel answers
// again, at the same address. It ends once nobody needs it.
func TestKilledTunnel(t *testing.T) {
	t.Parallel()
	need := filepath.Join(t.TempDir(), "need")
	if err := os.WriteFile(need, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	keeper := exec.CommandContext(t.Context(), os.Args[0])
	keeper.Env, keeper.ExtraFiles, keeper.Stderr = append(os.Environ(), needVariable+"="+need), []*os.File{file}, os.Stderr
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = file.Close(), listener.Close()
	address := listener.Addr().String()
	kill := func(pid int) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("cannot kill %d: %v", pid, err)
		}
	}
	server, parent := askTunnel(t, address, 0)
	if parent != keeper.Process.Pid {
		t.Errorf("the keeper is %d, want %d", parent, keeper.Process.Pid)
	}
	kill(server)
	second, parent := askTunnel(t, address, server)
	if parent != keeper.Process.Pid {
		t.Errorf("after a kill of the process that serves, the keeper is %d, want %d", parent, keeper.Process.Pid)
	}
	kill(keeper.Process.Pid)
	_ = keeper.Wait()
	third, parent := askTunnel(t, address, second)
	if parent != second {
		t.Errorf("after a kill of the keeper, it is %d, want %d", parent, second)
	}
	kill(third)
	if _, parent = askTunnel(t, address, third); parent != second {
		t.Errorf("after another kill, the keeper is %d, want %d", parent, second)
	}
	if err := os.Remove(need); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the end of the tunnel", func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil //nolint:nilerr // it has ended
		}
		return errors.Join(conn.Close(), errors.New("it still answers"))
	})
}

// askTunnel waits until another process than the last one answers. It returns that one and its parent.
func askTunnel(t *testing.T, address string, last int) (pid, parent int) {
	t.Helper()
	await.Until(t, "an answer of the tunnel", func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			t.Fatalf("the listener is gone: %v", err)
		}
		defer conn.Close()
		text, err := io.ReadAll(conn)
		if _, scanErr := fmt.Sscan(string(text), &pid, &parent); scanErr != nil || pid == last {
			return errors.Join(fmt.Errorf("the answer is %q", text), scanErr, err)
		}
		return nil
	})
	return pid, parent
}
