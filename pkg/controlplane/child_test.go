package controlplane

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	etcdkubernetes "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// The variables of a child process: the folder of its store, and what to do with it.
const (
	childFolder = "SUBLET_TEST_FOLDER"
	childStore  = "SUBLET_TEST_STORE"
)

// storeHangs lets the store of a child never list custom resource definitions.
const storeHangs = "hangs"

// TestMain runs the tests, or a control plane if the process is a child of a test.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		if err := runChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, "the control plane failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runChild runs a control plane until SIGTERM, and prints how far it is.
func runChild(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	bundle, err := pki.New(time.Now())
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	store := &childBackend{Backend: throwAway(dir), hangs: os.Getenv(childStore) == storeHangs}
	c, err := New(Config{Storage: store, PKI: bundle, Listener: listener})
	if err != nil {
		return err
	}
	printLine("begins")
	go func() {
		select {
		case <-c.Ready():
			printLine("is ready")
		case <-ctx.Done():
		}
	}()
	return c.RunWithControllers(ctx)
}

// printLine prints a line for the parent.
func printLine(line string) { _, _ = fmt.Fprintln(os.Stdout, line) }

// childBackend is the store of a child.
type childBackend struct {
	storage.Backend
	hangs bool
}

// Start starts the store.
func (b *childBackend) Start(ctx context.Context) (*etcdkubernetes.Client, error) {
	client, err := b.Backend.Start(ctx)
	if err != nil {
		return nil, err
	}
	printLine("has a store")
	if b.hangs {
		client.Kubernetes = hangingStore{client.Kubernetes}
	}
	return client, nil
}

// hangingStore never lists custom resource definitions.
type hangingStore struct{ etcdkubernetes.Interface }

// List lists keys.
func (s hangingStore) List(ctx context.Context, prefix string, opts etcdkubernetes.ListOptions) (etcdkubernetes.ListResponse, error) {
	if strings.Contains(prefix, "customresourcedefinitions") {
		printLine("hangs")
		<-ctx.Done()
		return etcdkubernetes.ListResponse{}, ctx.Err()
	}
	return s.Interface.List(ctx, prefix, opts)
}

// child is a control plane in a process of its own.
type child struct {
	command *exec.Cmd
	output  *bufio.Scanner
	log     *bytes.Buffer
}

// startChild starts a control plane on a folder. It is killed with the test.
func startChild(t *testing.T, dir, store string) *child {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{command: exec.Command(program), log: &bytes.Buffer{}}
	c.command.Env = append(os.Environ(), childFolder+"="+dir, childStore+"="+store)
	c.command.Stderr = c.log
	output, err := c.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.output = bufio.NewScanner(output)
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.command.Process.Kill()
		_ = c.command.Wait()
	})
	return c
}

// awaitLine reads the child's output up to a line.
func (c *child) awaitLine(t *testing.T, want string) {
	t.Helper()
	for c.output.Scan() {
		if c.output.Text() == want {
			return
		}
	}
	t.Fatalf("the child ended before it %s: %s", want, c.tail())
}

// stop sends SIGTERM and checks that the child ends in time and without an error.
func (c *child) stop(t *testing.T) {
	t.Helper()
	begin := time.Now()
	if err := c.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(patience, func() { _ = c.command.Process.Kill() })
	defer killer.Stop()
	for c.output.Scan() {
		continue // Wait must not be called before the end of the output
	}
	err := c.command.Wait()
	exit := &exec.ExitError{}
	switch {
	case errors.As(err, &exit):
		t.Errorf("the child ended with %s, want code 0: %s", exit, c.tail())
	case err != nil:
		t.Error(err)
	}
	if took := time.Since(begin); took > 2*stopLimit {
		t.Errorf("the stop took %s, want less than %s", took, 2*stopLimit)
	}
}

// tail returns the end of the child's log.
func (c *child) tail() string {
	log := c.log.String()
	return log[max(0, len(log)-4000):]
}

// TestStopDuringStart stops a control plane with SIGTERM at several moments of its
// start, on a new store and on one that exists. Hooks of upstream end the process if
// they are stopped before they are done.
func TestStopDuringStart(t *testing.T) { //nolint:tparallel // a process of its own per case is enough load one by one
	t.Parallel()
	for _, existing := range []bool{false, true} { //nolint:paralleltest // as above
		for _, moment := range []struct {
			line  string
			delay time.Duration
		}{
			{"begins", 0}, {"begins", 20 * time.Millisecond},
			{"has a store", 0}, {"has a store", 100 * time.Millisecond}, {"has a store", 200 * time.Millisecond},
			{"has a store", 300 * time.Millisecond}, {"has a store", 400 * time.Millisecond},
			{"has a store", 500 * time.Millisecond}, {"has a store", 700 * time.Millisecond},
			{"is ready", 0},
		} {
			t.Run(fmt.Sprintf("%s+%s existing=%v", moment.line, moment.delay, existing), func(t *testing.T) {
				dir := t.TempDir()
				if existing {
					first := startChild(t, dir, "")
					first.awaitLine(t, "is ready")
					first.stop(t)
				}
				c := startChild(t, dir, "")
				c.awaitLine(t, moment.line)
				<-time.After(moment.delay)
				c.stop(t)
			})
		}
	}
}

// TestStopWithAHangingStore stops a control plane whose store does not answer the
// question that a hook of upstream waits for.
func TestStopWithAHangingStore(t *testing.T) {
	t.Parallel()
	c := startChild(t, t.TempDir(), storeHangs)
	c.awaitLine(t, "hangs")
	c.stop(t)
}
