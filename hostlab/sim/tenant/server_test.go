package tenant

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newStub returns a server that is an ordinary program: what it does is a shell script.
func newStub(t *testing.T, script string) *Server {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "server.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	s := newServer(&Release{options: Options{Server: path, Release: "shop", Namespace: "tenant-shop"}, env: []string{"FROM_CHART=yes"}}, dir)
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServerThatEndsEarly(t *testing.T) {
	t.Parallel()
	s := newStub(t, "echo no host; exit 3\n")
	_, err := s.WaitReady(t.Context())
	for _, want := range []string{"exit status 3", "no host"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("WaitReady = %v, want %q in it", err, want)
		}
	}
}

// endsAtSecond is a transport that ends a wait at its second request.
type endsAtSecond struct {
	http.RoundTripper

	requests int
	end      context.CancelFunc
}

func (e *endsAtSecond) RoundTrip(request *http.Request) (*http.Response, error) {
	if e.requests++; e.requests == 2 {
		e.end()
	}
	return e.RoundTripper.RoundTrip(request)
}

func TestServerThatIsNeverReady(t *testing.T) {
	t.Parallel()
	s := newStub(t, "echo starting; exec sleep 60\n")
	defer s.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.http.Transport = &endsAtSecond{RoundTripper: s.http.Transport, end: cancel}
	_, err := s.WaitReady(ctx)
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("WaitReady = %v, want what the last answer was", err)
	}
}

func TestServerSettings(t *testing.T) {
	t.Parallel()
	s := newStub(t, `echo "$FROM_CHART $*"; exec sleep 60`+"\n")
	defer s.Stop()
	want := "yes --config " + filepath.Join(s.dir, "config.yaml") + " --name shop --namespace tenant-shop"
	for deadline := time.Now().Add(time.Minute); !strings.HasPrefix(s.logTail(), want); {
		if time.Now().After(deadline) {
			t.Fatalf("the server was started with %q, want %q first", s.logTail(), want)
		}
		if err := s.pause(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServerAgain(t *testing.T) {
	t.Parallel()
	s := newStub(t, "echo no host; exit 3\n")
	<-s.Exited()
	s.release.config = []byte("toggle: true\n")
	again, err := s.Again()
	if err != nil {
		t.Fatal(err)
	}
	<-again.Exited()
	config, err := os.ReadFile(filepath.Join(s.dir, "config.yaml"))
	if err != nil || string(config) != "toggle: true\n" {
		t.Errorf("the second start has the config %q, %v", config, err)
	}
}

func TestServerStops(t *testing.T) {
	t.Parallel()
	s := newStub(t, "exec sleep 60\n")
	begun := time.Now()
	s.Stop()
	s.Stop()
	if took := time.Since(begun); took > stopGrace/2 {
		t.Errorf("a server that handles SIGTERM took %s to stop", took)
	}
	select {
	case <-s.Exited():
	default:
		t.Error("Stop returned before the process ended")
	}
}

func TestServerThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := newServer(&Release{options: Options{Server: filepath.Join(t.TempDir(), "none")}}, t.TempDir())
	if err := s.start(); err == nil {
		t.Error("a missing binary starts")
	}
}
