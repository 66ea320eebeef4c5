package operator

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// fixture is a running server and how to reach it.
type fixture struct {
	address string
	client  *http.Client
	live    atomic.Int32 // how often the check ran
	dead    atomic.Bool
}

func report() syncz.Report {
	return syncz.NewReport(syncz.Check{Name: "holder", Healthy: true, Message: "this replica serves"},
		syncz.Check{Name: "pods", Message: "cache not synced", Details: []string{"host Pod: forbidden"}})
}

func start(t *testing.T, profiling bool) *fixture {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := bundle.Serving(time.Now(), pki.Names{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{address: listener.Addr().String()}
	server := New(Options{
		Listener: listener,
		Live: func(context.Context) error {
			f.live.Add(1)
			if f.dead.Load() {
				return errors.New("etcd failed")
			}
			return nil
		},
		Ready:       func(context.Context) error { return errors.New("starting") },
		Report:      report,
		Metrics:     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1")) }),
		Profiling:   profiling,
		Allows:      func(token string) bool { return token == "right" },
		Certificate: func() (*tls.Certificate, error) { return &certificate, nil },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle.CA())
	f.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	return f
}

func (f *fixture) get(t *testing.T, url, token string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(url, "//", "//"+f.address, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := f.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(body))
}

// TestPaths asks every path in every way.
func TestPaths(t *testing.T) {
	t.Parallel()
	const text = "[+] holder: this replica serves\n[-] pods: cache not synced\n    host Pod: forbidden"
	for _, tc := range []struct {
		reason, url, token string
		profiling          bool
		code               int
		body               string
	}{
		{"The kubelet probes without TLS.", "http:///livez", "", false, 200, "ok"},
		{"Not ready has a reason.", "http:///readyz", "", false, 503, "starting"},
		{"Nothing else is plain,", "http:///metrics", "right", false, 403, ""},
		{"not even the report.", "http:///syncz", "right", false, 403, ""},
		{"Profiles are not plain either.", "http:///debug/pprof/heap", "right", true, 403, ""},
		{"Probes work over TLS too.", "https:///livez", "", false, 200, "ok"},
		{"Metrics need the token.", "https:///metrics", "", false, 401, ""},
		{"Another token is none.", "https:///metrics", "wrong", false, 401, ""},
		{"With it they are served.", "https:///metrics", "right", false, 200, "up 1"},
		{"The report needs the token.", "https:///syncz", "", false, 401, ""},
		{"The token of somebody else is none.", "https:///syncz", "wrong", false, 401, ""},
		{"It has all details, and its status is that of the parts.", "https:///syncz", "right", false, 503, text},
		{"Profiling is off by default.", "https:///debug/pprof/cmdline", "right", false, 404, ""},
		{"Switched on, it needs the token.", "https:///debug/pprof/cmdline", "", true, 401, ""},
		{"With another token it stays closed.", "https:///debug/pprof/cmdline", "wrong", true, 401, ""},
		{"Then it is there.", "https:///debug/pprof/cmdline", "right", true, 200, ""},
	} {
		code, body := start(t, tc.profiling).get(t, tc.url, tc.token)
		if code != tc.code || tc.body != "" && body != tc.body {
			t.Errorf("%s %s: %d %q, want %d %q", tc.reason, tc.url, code, body, tc.code, tc.body)
		}
	}
}

// TestJSON decodes the report as the command line does.
func TestJSON(t *testing.T) {
	t.Parallel()
	_, body := start(t, false).get(t, "https:///syncz?format=json", "right")
	var got syncz.Report
	if err := json.NewDecoder(bytes.NewReader([]byte(body))).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(report(), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestFlood probes much more often than a kubelet: the checks run rarely.
func TestFlood(t *testing.T) {
	t.Parallel()
	f := start(t, false)
	begin := time.Now()
	for range 50 {
		f.get(t, "http:///livez", "")
	}
	if limit := int32(time.Since(begin)/probeReuse) + 1; f.live.Load() > limit {
		t.Errorf("50 probes caused %d checks, want at most %d", f.live.Load(), limit)
	}
}

// TestSilentConnections opens connections that send nothing: others are served.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	f := start(t, false)
	for range 2 * maxSilent {
		conn, err := net.Dial("tcp", f.address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	if code, _ := f.get(t, "http:///livez", ""); code != 200 {
		t.Errorf("a probe gets %d", code)
	}
}
