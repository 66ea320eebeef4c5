package nodeproxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
)

const followPath = "https://node-7:10250/containerLogs/web/front-0/nginx?follow=true"

func TestLogs(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		pods   bool
	}{
		"Cached": {reason: "a cache of host pods gives the proof", pods: true},
		"Live":   {reason: "without a cache the proof is read from the host"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			h.logs = func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprintf(w, "log of %s", r.URL) }
			p, _ := startProxy(t, h, func(o *Options) {
				if !tc.pods {
					o.Pods = nil
					o.Host.Timeout = 0 // reads of pods use it
				}
			})
			host := hostPod(testCluster, testPod)
			want := reply{
				Code: http.StatusOK,
				Text: fmt.Sprintf("log of /api/v1/namespaces/%s/pods/%s/log?container=nginx&tailLines=2", host.Namespace, host.Name),
			}
			got := sendRequest(t, p, http.MethodGet, "/containerLogs/web/front-0/nginx?tailLines=2&stream=All", nil)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestLogProtocol checks that a log comes by HTTP/1.1, also from a host that speaks HTTP/2. A client of HTTP/2 would keep
// megabytes of each log that nobody reads.
func TestLogProtocol(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	h.logs = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "line") }
	p, _ := startProxy(t, h, nil)
	if got := sendRequest(t, p, http.MethodGet, "/containerLogs/web/front-0/nginx", nil); got.Code != http.StatusOK {
		t.Fatalf("got %v", got)
	}
	for _, r := range h.requests() {
		if r.ProtoMajor != 1 {
			t.Errorf("the host was asked by %s, want HTTP/1.1", r.Proto)
		}
	}
}

// TestFollow sends each line only after the one before has arrived. A line that
// waited for more would never arrive.
func TestFollow(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	lines, left := make(chan string), make(chan struct{})
	h.logs = func(w http.ResponseWriter, r *http.Request) {
		defer close(left)
		controller := http.NewResponseController(w)
		w.WriteHeader(http.StatusOK)
		_ = controller.Flush()
		for {
			select {
			case line := <-lines:
				_, _ = fmt.Fprintln(w, line)
				_ = controller.Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
	registry := metrics.NewKubeRegistry()
	p, _ := startProxy(t, h, func(o *Options) { o.Register = registry.Register })
	ctx, cancel := context.WithCancel(t.Context())
	response := followed(ctx, t, p)
	defer func() { _ = response.Body.Close() }()

	reader := bufio.NewReader(response.Body)
	for _, line := range []string{"one", "two", "three"} {
		lines <- line
		got, err := reader.ReadString('\n')
		if err != nil || got != line+"\n" {
			t.Fatalf("want %q at once, got %q, %v", line, got, err)
		}
	}
	want := `
# HELP sublet_nodeproxy_open_requests [ALPHA] Requests to kubelets of the virtual cluster that are being served, streams and followed logs among them.
# TYPE sublet_nodeproxy_open_requests gauge
sublet_nodeproxy_open_requests{operation="containerLogs"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "sublet_nodeproxy_open_requests"); err != nil {
		t.Errorf("a followed log counts as open: %v", err)
	}
	cancel()
	receive(t, left, "the host to see that nobody follows any more")
}

func TestLogBreaksOff(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		end    func(h *fakeHost, stop func())
	}{
		"HostBreaks": {
			reason: "a log that was cut must not look like one that is over",
			end:    func(h *fakeHost, _ func()) { h.server.CloseClientConnections() },
		},
		"ProxyStops": {
			reason: "a control plane that stops cuts the logs that are followed",
			end:    func(_ *fakeHost, stop func()) { stop() },
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			h.logs = func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "half a li")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}
			p, stop := startProxy(t, h, nil)
			response := followed(t.Context(), t, p)
			defer func() { _ = response.Body.Close() }()
			start := make([]byte, len("half a li"))
			if _, err := io.ReadFull(response.Body, start); err != nil {
				t.Fatalf("cannot read the beginning of the log: %v", err)
			}
			tc.end(h, stop)
			if _, err := io.ReadAll(response.Body); err == nil {
				t.Errorf("%s\nwant an error, got the end of the log", tc.reason)
			}
		})
	}
}

func TestTwoShareTheirMetrics(t *testing.T) {
	t.Parallel()
	registry := metrics.NewKubeRegistry()
	h := newFakeHost(t)
	for range 2 {
		p, _ := startProxy(t, h, func(o *Options) { o.Register = registry.Register })
		sendRequest(t, p, http.MethodGet, "/pods", nil)
	}
	want := `
# HELP sublet_nodeproxy_requests_total [ALPHA] Requests to kubelets of the virtual cluster, by operation and by HTTP status. A stream that was opened counts as 101.
# TYPE sublet_nodeproxy_requests_total counter
sublet_nodeproxy_requests_total{code="404",operation="other"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "sublet_nodeproxy_requests_total"); err != nil {
		t.Errorf("two proxies in one process count together: %v", err)
	}
}

func TestStopped(t *testing.T) {
	t.Parallel()
	p, stop := startProxy(t, newFakeHost(t), nil)
	stop()
	if _, err := p.Dial(t.Context(), "tcp", "node-7:10250"); err == nil || !strings.Contains(err.Error(), "node-7:10250") {
		t.Errorf("Dial(...) after Run has ended: want an error that names the node, got %v", err)
	}
}

// followed opens a log that does not end.
func followed(ctx context.Context, t *testing.T, p *Proxy) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, followPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := kubelet(t, p).Do(request)
	if err != nil {
		t.Fatalf("cannot follow the log: %v", err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("cannot follow the log: %s", response.Status)
	}
	return response
}
