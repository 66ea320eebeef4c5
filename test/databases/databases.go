// Package databases starts database servers for tests, from the packages of the
// distribution, each with a directory and a port of its own.
package databases

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sublet-dev/sublet/test/ports"
)

const (
	// User is the user of the tests. It may create databases.
	User = "sublet"
	// Password is the password of User.
	Password = "p@ss:w/rd?" //nolint:gosec // of a server that lives as long as a test

	// patience bounds the start of a server.
	patience = 3 * time.Minute
)

// Server is a database server of a test.
type Server struct {
	// Host is the address of the server.
	Host string
	// CAFile is the CA of the server's certificate, or empty without encryption.
	CAFile string

	t        *testing.T
	program  string
	args     []string
	dir      string
	owner    *syscall.Credential
	driver   string
	admin    string // data source of the driver
	mu       sync.Mutex
	process  *exec.Cmd
	finished chan struct{}
}

// find returns the path of a program, and skips the test if it is missing.
func find(t *testing.T, name string, patterns ...string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, pattern := range patterns {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Skipf("%s is not installed: run hack/databases.sh as root, or install postgresql and mariadb-server", name)
	return ""
}

// ownerOf returns the user that a server runs as: servers refuse to run as root.
func ownerOf(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	account, err := user.Lookup(name)
	if err != nil {
		t.Skipf("there is no user %s to run the database as: %v", name, err)
	}
	uid, errUID := strconv.ParseUint(account.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(account.Gid, 10, 32)
	if errUID != nil || errGID != nil {
		t.Fatalf("cannot read the identifiers of user %s", name)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// newServer returns a server with a directory that its user owns.
func newServer(t *testing.T, account, address string) *Server {
	t.Helper()
	// The directory of a test is not open to others on every machine.
	dir, err := os.MkdirTemp("", "sublet-database-") //nolint:usetesting // as above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{t: t, dir: dir, owner: ownerOf(t, account), Host: ports.Free(t, cmp.Or(address, "127.0.0.1"))}
	if s.owner != nil {
		if err := os.Chown(dir, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// address returns the IP of the server.
func (s *Server) address() string {
	ip, _, _ := net.SplitHostPort(s.Host)
	return ip
}

// port returns the port of the server.
func (s *Server) port() string {
	_, port, _ := net.SplitHostPort(s.Host)
	return port
}

// command returns a command that runs as the owner of the server.
func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // programs of the distribution
	cmd.Dir = s.dir
	// A MariaDB deletes the temporary tables of others in its folder when it starts.
	cmd.Env = append(os.Environ(), "TMPDIR="+s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return cmd
}

// run runs a command to its end.
func (s *Server) run(program string, args ...string) {
	s.t.Helper()
	if output, err := s.command(s.t.Context(), program, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", program, err, output)
	}
}

// write writes a file that the owner of the server alone can read.
func (s *Server) write(name string, content []byte) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if s.owner != nil {
		if err := os.Chown(path, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			s.t.Fatal(err)
		}
	}
	return path
}

// Start starts the server and waits until it answers. A server that was killed may find its
// children still alive and refuse to start; it is started again then.
func (s *Server) Start() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		finished := s.startProcess()
		err := s.await(ctx, finished)
		if err == nil {
			return
		}
		if ctx.Err() != nil || !strings.Contains(s.log(), "still in use") {
			s.t.Fatalf("%s does not answer: %v\n%s", s.program, err, s.log())
		}
	}
}

// startProcess starts the process. The channel is closed when it ends.
func (s *Server) startProcess() (finished chan struct{}) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	process := s.command(context.WithoutCancel(s.t.Context()), s.program, s.args...)
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		s.t.Fatalf("%s: %v", s.program, err)
	}
	finished = make(chan struct{})
	s.process, s.finished = process, finished
	go func() {
		_ = process.Wait()
		_ = log.Close()
		close(finished)
	}()
	return finished
}

// await waits until the server answers. It returns an error if the process ends.
func (s *Server) await(ctx context.Context, finished <-chan struct{}) error {
	db, err := sql.Open(s.driver, s.admin)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-finished:
			return errors.New("it ended")
		case <-ctx.Done():
			return err
		case <-ticker.C:
		}
	}
}

// log returns the log of the server.
func (s *Server) log() string {
	content, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(content)
}

// Kill ends the server and its children without a warning, and returns when they are gone.
func (s *Server) Kill() {
	s.mu.Lock()
	process, finished := s.process, s.finished
	s.process = nil
	s.mu.Unlock()
	if process == nil {
		return
	}
	_ = syscall.Kill(-process.Process.Pid, syscall.SIGKILL)
	<-finished
}

// Exec runs a statement as the administrator.
func (s *Server) Exec(statement string) {
	s.t.Helper()
	db, err := sql.Open(s.driver, s.admin)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(s.t.Context(), statement); err != nil {
		s.t.Fatalf("%s: %v", statement, err)
	}
}

// quote returns a string of SQL.
func quote(text string) string { return fmt.Sprintf("'%s'", text) }
