package main

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// getPath gets a path of a handler and returns the status and the body.
func getPath(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestHandler(t *testing.T) {
	t.Parallel()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "note")
	if err := os.WriteFile(file, []byte("written"), 0o644); err != nil {
		t.Fatal(err)
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			http.Error(w, "broken", http.StatusTeapot)
			return
		}
		_, _ = io.WriteString(w, "from afar")
	}))
	t.Cleanup(other.Close)
	cases := map[string]struct {
		reason string
		path   string
		status int
		body   string
	}{
		"Root":       {"A probe of / works.", "/", 200, name},
		"Hostname":   {"It says which pod answers.", "/hostname", 200, name},
		"Healthz":    {"It is healthy from the start.", "/healthz", 200, "ok"},
		"Echo":       {"It repeats what it is told.", "/echo?msg=hello", 200, "hello"},
		"File":       {"It reads what is mounted.", "/file?path=" + url.QueryEscape(file), 200, "written"},
		"NoFile":     {"What is not mounted is an error.", "/file?path=/nowhere", 500, "/nowhere"},
		"DNS":        {"It resolves names.", "/dns?name=localhost", 200, "127.0.0.1"},
		"Fetch":      {"It asks others.", "/fetch?url=" + url.QueryEscape(other.URL), 200, "from afar"},
		"FetchFails": {"The other's refusal is not hidden.", "/fetch?url=" + url.QueryEscape(other.URL+"/broken"), 500, "status 418"},
		"NoToken":    {"Without a token it cannot call the API server, and says so.", "/api?path=/version", 500, "token"},
		"ClientIP":   {"It says who asks.", "/clientip", 200, "192.0.2.1:"},
		"Unknown":    {"It does not answer what it does not know.", "/nonsense", 404, ""},
	}
	h := handler(t.TempDir())
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, body := getPath(t, h, tc.path)
			if status != tc.status || !strings.Contains(body, tc.body) {
				t.Errorf("%s\n%s: %d %q, want %d %q", tc.reason, tc.path, status, body, tc.status, tc.body)
			}
		})
	}
}

func TestFail(t *testing.T) {
	t.Parallel()
	h := handler(t.TempDir())
	for _, step := range []struct {
		path string
		want int
	}{{"/readyz", 200}, {"/fail", 200}, {"/readyz", 500}, {"/healthz", 500}, {"/hostname", 200}} {
		if status, _ := getPath(t, h, step.path); status != step.want {
			t.Errorf("%s: %d, want %d", step.path, status, step.want)
		}
	}
}

func TestAskAPI(t *testing.T) {
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "this is "+r.URL.Path)
	}))
	t.Cleanup(api.Close)
	address, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", address.Hostname())
	t.Setenv("KUBERNETES_SERVICE_PORT", address.Port())
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	for name, content := range map[string]string{"token": "sesame\n", "ca.crt": string(ca)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if status, body := getPath(t, handler(dir), "/api?path=/version"); status != 200 || body != "this is /version" {
		t.Errorf("/api: %d %q, want the API server's answer", status, body)
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, body := getPath(t, handler(dir), "/api?path=/version"); status != 500 || !strings.Contains(body, "401") {
		t.Errorf("/api with a wrong token: %d %q, want the refusal", status, body)
	}
}

func TestLogLines(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := logLines(t.Context(), &out, time.Millisecond, 3); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "line 1\nline 2\nline 3\n"; got != want {
		t.Errorf("logged %q, want %q", got, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out.Reset()
	if err := logLines(ctx, &out, time.Hour, 0); err != nil || out.String() != "line 1\n" {
		t.Errorf("logged %q, %v; want an end with the context", out.String(), err)
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = packets.Close() })
	go echo(packets)
	conn, err := net.Dial("udp", packets.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 16)
	if n, err := conn.Read(buffer); err != nil || string(buffer[:n]) != "hello" {
		t.Errorf("heard %q, %v; want the echo", buffer[:n], err)
	}
}

func TestServeEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := serve(ctx, "127.0.0.1:0", "127.0.0.1:0"); err != nil {
		t.Errorf("serve: %v, want a clean end", err)
	}
}

func TestUnknownCommand(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), []string{"dance"}); err == nil || !strings.Contains(err.Error(), "serve, log, get or gauges") {
		t.Errorf("run: %v, want the choices", err)
	}
}
