package tenant

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Pauses of the loops that wait for the process. They bound the error of the
// times that the benchmark takes.
const (
	pollReady  = 2 * time.Millisecond
	pollConfig = 5 * time.Millisecond
)

// stopGrace is how long the server may take to stop, as in its pod.
const stopGrace = 10 * time.Second

// Server is the process of a virtual cluster.
type Server struct {
	release *Release
	dir     string
	address string
	// port serves the virtual API. Empty takes a free one.
	port string
	// operator is host:port of the probes for operators. Empty asks the virtual API.
	operator string
	// configure changes the settings of the release for this process. nil does not.
	configure func([]byte) []byte
	// arguments follow those that every server gets.
	arguments []string
	// environment follows the variables of the release, as NAME=VALUE.
	environment []string
	command     *exec.Cmd
	http        *http.Client

	// started is the time just before the process was.
	started time.Time
	exited  chan struct{}
	err     error
	stopped sync.Once
}

// Run starts the server on a fresh data folder below dir, which must exist; the
// caller removes it. The context bounds the start alone: the server runs until
// [Server.Stop], or until this process dies.
func (r *Release) Run(ctx context.Context, dir string) (*Server, error) {
	return r.RunAt(ctx, dir, "")
}

// RunAt starts the server as [Release.Run] does, with the virtual API at a port of this machine.
func (r *Release) RunAt(ctx context.Context, dir, port string) (*Server, error) {
	dir, err := os.MkdirTemp(dir, r.options.Release+"-")
	if err != nil {
		return nil, fmt.Errorf("cannot create the server's folder: %w", err)
	}
	kubeconfig, err := r.hostKubeconfig(ctx, r.host, nil)
	if err != nil {
		return nil, err
	}
	s := newServer(r, dir)
	s.port = port
	if err := os.WriteFile(filepath.Join(dir, "host.kubeconfig"), kubeconfig, 0o600); err != nil {
		return nil, fmt.Errorf("cannot write the server's kubeconfig: %w", err)
	}
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", r.options.Server, err)
	}
	return s, nil
}

func newServer(r *Release, dir string) *Server {
	return &Server{release: r, dir: dir, exited: make(chan struct{}), http: probeClient()}
}

func (s *Server) start() error {
	port := s.port
	if port == "" {
		var err error
		if port, err = ReservePort(); err != nil {
			return err
		}
	}
	s.address = net.JoinHostPort("127.0.0.1", port)
	config := s.release.config
	if s.configure != nil {
		config = s.configure(config)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "config.yaml"), config, 0o600); err != nil {
		return err
	}
	log, err := s.newLog()
	if err != nil {
		return err
	}
	options := s.release.options
	s.command = exec.CommandContext(context.Background(), options.Server, append([]string{
		"--config", filepath.Join(s.dir, "config.yaml"),
		"--name", options.Release,
		"--namespace", options.Namespace,
		"--host-kubeconfig", filepath.Join(s.dir, "host.kubeconfig"),
		"--data-dir", filepath.Join(s.dir, "data"),
		"--bind-address", "127.0.0.1",
		"--advertise-address", "127.0.0.1",
		"--port", port,
		// The server takes a free port. One that was chosen here could be taken by then.
		"--dns-port", "0",
	}, s.arguments...)...)
	s.command.Stdout, s.command.Stderr = log, log
	s.command.Env = slices.Concat(os.Environ(), s.release.env, s.environment)
	s.command.SysProcAttr = setParentDeathSignal()

	begun := make(chan error)
	go func() {
		// The kernel kills the child when the thread that made it ends, so the
		// thread is kept until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(s.exited)
		defer func() { _ = log.Close() }()
		s.started = time.Now()
		err := s.command.Start()
		begun <- err
		if err == nil {
			s.err = s.command.Wait()
			_, _ = fmt.Fprintf(log, "The process has ended after %v: %v\n", time.Since(s.started), s.command.ProcessState)
		}
	}()
	return <-begun
}

// newLog opens the log, and keeps that of the process before.
func (s *Server) newLog() (*os.File, error) {
	if err := os.Rename(s.LogFile(), s.earlierLog()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(s.LogFile(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

// Started returns the time at which the process was started.
func (s *Server) Started() time.Time { return s.started }

// PID returns the process id of the server.
func (s *Server) PID() int { return s.command.Process.Pid }

// Address returns host:port of the virtual API server.
func (s *Server) Address() string { return s.address }

// Operator returns host:port of the probes for operators, empty if the virtual API serves them.
func (s *Server) Operator() string { return s.operator }

// LogFile returns where the server's log goes.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "server.log") }

// earlierLog returns where the log of the process before is.
func (s *Server) earlierLog() string { return filepath.Join(s.dir, "server.earlier.log") }

// Exited returns a channel that closes when the process has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// WaitReady waits until /readyz succeeds, and returns the time of that.
func (s *Server) WaitReady(ctx context.Context) (time.Time, error) {
	last := errors.New("never asked")
	for {
		err := s.probe(ctx)
		if err == nil {
			return time.Now(), nil
		}
		if ctx.Err() == nil {
			last = err
		}
		if err := s.pause(ctx, pollReady); err != nil {
			return time.Time{}, fmt.Errorf("the virtual cluster is not ready: %w; last answer: %w", err, last)
		}
	}
}

func (s *Server) probe(ctx context.Context) error {
	address := "https://" + s.address
	if s.operator != "" {
		address = "http://" + s.operator
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(body))
	}
	return nil
}

// Kubeconfig waits for the kubeconfig that the server writes for its tenant.
func (s *Server) Kubeconfig(ctx context.Context) ([]byte, error) {
	for {
		kubeconfig, err := s.release.kubeconfig(ctx, s.address)
		if err == nil || !errors.Is(err, errNotYet) {
			return kubeconfig, err
		}
		if err := s.pause(ctx, pollConfig); err != nil {
			return nil, fmt.Errorf("the server wrote no kubeconfig: %w", err)
		}
	}
}

// Config waits for the tenant's kubeconfig and makes it a client configuration
// without limits that speaks protobuf.
func (s *Server) Config(ctx context.Context) (*rest.Config, error) {
	kubeconfig, err := s.Kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cannot use the tenant's kubeconfig: %w", err)
	}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.QPS, config.Burst = -1, -1
	return config, nil
}

// Stop asks the process to stop, waits, and kills it if it takes too long.
func (s *Server) Stop() { s.stopWithin(stopGrace) }

func (s *Server) stopWithin(grace time.Duration) {
	s.stopped.Do(func() {
		s.http.CloseIdleConnections()
		_ = s.command.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.exited:
		case <-time.After(grace):
			_ = s.command.Process.Kill()
			<-s.exited
		}
	})
}

// Kill kills the process and waits until it has ended.
func (s *Server) Kill() {
	s.stopped.Do(func() {
		s.http.CloseIdleConnections()
		_ = s.command.Process.Kill()
		<-s.exited
	})
}

// Pause stops the process where it is, as a suspended machine does. Resume lets it continue.
func (s *Server) Pause() error { return s.command.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process continue.
func (s *Server) Resume() error { return s.command.Process.Signal(syscall.SIGCONT) }

// Again starts a server that has ended once more: on its folder, and with the settings that
// the release has now.
func (s *Server) Again() (*Server, error) {
	next := newServer(s.release, s.dir)
	next.port, next.arguments, next.configure, next.environment = s.port, s.arguments, s.configure, s.environment
	if err := next.start(); err != nil {
		return nil, fmt.Errorf("cannot start %s again: %w", s.release.options.Server, err)
	}
	return next, nil
}

// pause waits for d, or fails if the process has ended or ctx has.
func (s *Server) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-s.exited:
		return fmt.Errorf("the server has ended (%v), its last words:\n%s", s.err, s.logTail()) //nolint:errorlint // there is no error if it ended by itself
	case <-ctx.Done():
		return fmt.Errorf("%w; the server's last words:\n%s", context.Cause(ctx), s.logTail())
	case <-time.After(d):
		return nil
	}
}

// logTail returns the end of the server's log, for the message of a failure.
func (s *Server) logTail() string {
	const lines = 12
	content, err := os.ReadFile(s.LogFile())
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// probeClient asks as a kubelet's probe does: it trusts whoever answers.
func probeClient() *http.Client {
	return &http.Client{
		Timeout:   2 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // as a kubelet's probe
	}
}

// ReservePort returns a port of 127.0.0.1 for a process that keeps it when it starts
// again. The system gives no such port to a connection meanwhile.
func ReservePort() (string, error) {
	const first, ports, tries = 20000, 12000, 100
	var err error
	for range tries {
		port := strconv.Itoa(first + rand.IntN(ports)) //nolint:gosec // Any port will do.
		var listener net.Listener
		if listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			return port, listener.Close()
		}
	}
	return "", fmt.Errorf("cannot find a free port: %w", err)
}
