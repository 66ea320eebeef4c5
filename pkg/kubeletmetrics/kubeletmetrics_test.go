package kubeletmetrics

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// certificateOf returns the certificate of a server.
func certificateOf(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

// TestGolden compares what a tenant gets of the stored answers of a kubelet.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, path := range paths() {
		for _, protobuf := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/protobuf=%t", path, protobuf), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, &kubelet{protobuf: protobuf}, nil)
				got := w.get(t, "/api/v1/nodes/host-1/proxy/"+path)
				if got.Code != http.StatusOK {
					t.Fatalf("got %d %s, want 200", got.Code, got.Body)
				}
				file := filepath.Join("testdata", "tenant", fileOf(path))
				text := sortFamilies(got.Body.String())
				if *update && !protobuf {
					if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), text); diff != "" {
					t.Errorf("-want, +got:\n%s", diff)
				}
				for _, secret := range []string{
					"tenant-", hostName("front-0"), "shop-0", "mesh", "host.example", "sublet-host", "3391dae8", "84278410", "veth", "neighbour", "91234",
				} {
					if strings.Contains(got.Body.String(), secret) {
						t.Errorf("the answer has %q, which is the host's:\n%s", secret, got.Body)
					}
				}
			})
		}
	}
}

// sortFamilies sorts families of metrics. Those of a kubelet that answers with text come in any order.
func sortFamilies(text string) string {
	families := strings.SplitAfter(text, "\n")
	blocks := []string{""}
	for _, line := range families {
		if strings.HasPrefix(line, "# HELP") {
			blocks = append(blocks, "")
		}
		blocks[len(blocks)-1] += line
	}
	slices.Sort(blocks)
	return strings.Join(blocks, "")
}

// TestRequests checks which requests reach a kubelet, and with what.
func TestRequests(t *testing.T) {
	t.Parallel()
	const nodes = "/api/v1/nodes/"
	cases := map[string]struct {
		reason string
		method string
		path   string
		want   int
		asked  string
	}{
		"Plain":          {reason: "A scrape is served.", path: nodes + "host-1/proxy/metrics/resource", want: 200, asked: "/metrics/resource"},
		"Port":           {reason: "The port may be that of the kubelet.", path: nodes + "https:host-1:10250/proxy/metrics/resource", want: 200, asked: "/metrics/resource"},
		"OtherPort":      {reason: "Another port is not the kubelet.", path: nodes + "host-1:10255/proxy/metrics/resource", want: 418},
		"OtherScheme":    {reason: "Kubelets are not reached without TLS.", path: nodes + "http:host-1:10250/proxy/metrics/resource", want: 418},
		"Usage":          {reason: "One option of a summary is known.", path: nodes + "host-1/proxy/stats/summary?only_cpu_and_memory=true", want: 200, asked: "/stats/summary?only_cpu_and_memory=true"},
		"UnknownOptions": {reason: "The kubelet gets no query of the tenant.", path: nodes + "host-1/proxy/stats/summary?x=y&only_cpu_and_memory=1", want: 200, asked: "/stats/summary"},
		"UnknownNode":    {reason: "A node of the host that is not shown is not asked.", path: nodes + "hidden/proxy/metrics/resource", want: 418},
		"Pods":           {reason: "The list of pods is not served.", path: nodes + "host-1/proxy/pods", want: 418},
		"Exec":           {reason: "Commands are not passed on.", path: nodes + "host-1/proxy/run/tenant-other/pod/c", want: 418},
		"Kubelet":        {reason: "The metrics of the kubelet itself are about all pods.", path: nodes + "host-1/proxy/metrics", want: 418},
		"Up":             {reason: "A path that climbs is not on the list.", path: nodes + "host-1/proxy/metrics/resource/../../pods", want: 418},
		"Encoded":        {reason: "So is one that hides it.", path: nodes + "host-1/proxy/metrics%2Fresource/..%2f..%2fpods", want: 418},
		"Below":          {reason: "Nor is a path below one that is served.", path: nodes + "host-1/proxy/metrics/resource/pods", want: 418},
		"Namespace":      {reason: "A Role of a namespace must not permit it.", path: "/api/v1/namespaces/web/nodes/host-1/proxy/metrics/resource", want: 418},
		"Post":           {reason: "Metrics are read.", method: http.MethodPost, path: nodes + "host-1/proxy/metrics/resource", want: 418},
		"Head":           {reason: "As a kubelet is asked by GET.", method: http.MethodHead, path: nodes + "host-1/proxy/metrics/resource", want: 418},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := &kubelet{asked: make(chan *http.Request, 2)}
			w := newWorld(t, k, nil)
			method := tc.method
			if method == "" {
				method = http.MethodGet
			}
			if got := w.send(t, method, tc.path); got.Code != tc.want {
				t.Errorf("%s: got %d %s, want %d", tc.reason, got.Code, got.Body, tc.want)
			}
			close(k.asked)
			asked := ""
			for r := range k.asked {
				asked += r.URL.String()
			}
			if asked != tc.asked {
				t.Errorf("%s: the kubelet was asked for %q, want %q", tc.reason, asked, tc.asked)
			}
		})
	}
}

// TestOff checks that nothing is requested without the setting, and that the answer names it.
func TestOff(t *testing.T) {
	t.Parallel()
	k := &kubelet{}
	w := newWorld(t, k, func(o *Options) { *o = Options{} })
	got := w.get(t, "/api/v1/nodes/host-1/proxy/metrics/resource")
	if got.Code != http.StatusNotFound || !strings.Contains(got.Body.String(), "integrations.kubeletMetrics.enabled") {
		t.Errorf("got %d %s, want 404 with the setting", got.Code, got.Body)
	}
	if n := k.requests.Load(); n != 0 {
		t.Errorf("the kubelet saw %d requests, want none", n)
	}
}

// TestFailures checks what the tenant gets when a kubelet cannot be read.
func TestFailures(t *testing.T) {
	t.Parallel()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte("secret of the host"))
		}
	}
	cases := map[string]struct {
		reason string
		handle http.HandlerFunc
		change func(*Options)
		want   int
		text   string
	}{
		"Forbidden":    {reason: "The operator has to permit it.", handle: status(403), want: 503, text: "ask the operator"},
		"Unauthorized": {reason: "The credentials are not those of the tenant.", handle: status(401), want: 503, text: "ask the operator"},
		"Missing":      {reason: "An older kubelet may lack a path.", handle: status(404), want: 502, text: "answered 404"},
		"Redirect": {
			reason: "A redirect is not followed.", want: 502, text: "answered 302",
			handle: func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://192.0.2.1/", http.StatusFound)
			},
		},
		"Garbage": {
			reason: "What is no list of metrics is not passed on.", want: 503, text: "cannot be read",
			handle: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				_, _ = w.Write([]byte("secret of the host {"))
			},
		},
		"Type": {
			reason: "Nor is an answer of another type.", want: 503, text: "cannot be read",
			handle: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				_, _ = w.Write([]byte("secret of the host"))
			},
		},
		"Certificate": {
			reason: "A kubelet needs a certificate of the host.", want: 503, text: "cannot be read",
			change: func(o *Options) { o.Host.CAData = nil },
		},
		"NoNode": {
			reason: "The node may have left the host.", want: 503, text: "cannot be read",
			change: func(o *Options) {
				o.HostNode = func(context.Context, string) (*corev1.Node, error) { return nil, errors.New("secret of the host") }
			},
		},
		"NoAddress": {
			reason: "A node may have no address.", want: 503, text: "cannot be read",
			change: func(o *Options) {
				o.HostNode = func(context.Context, string) (*corev1.Node, error) { return &corev1.Node{}, nil }
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, &kubelet{handle: tc.handle}, tc.change)
			got := w.get(t, "/api/v1/nodes/host-1/proxy/metrics/resource")
			if got.Code != tc.want || !strings.Contains(got.Body.String(), tc.text) || strings.Contains(got.Body.String(), "secret") {
				t.Errorf("%s: got %d %s, want %d with %q", tc.reason, got.Code, got.Body, tc.want, tc.text)
			}
		})
	}
}

// TestInsecure checks that the setting accepts the certificate that a kubelet has.
func TestInsecure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &kubelet{}, func(o *Options) { o.Host.CAData, o.InsecureSkipTLSVerify = nil, true })
	if got := w.get(t, "/api/v1/nodes/host-1/proxy/metrics/resource"); got.Code != http.StatusOK {
		t.Errorf("got %d %s, want 200", got.Code, got.Body)
	}
}

// TestShared checks that requests share one of the kubelet, and that its memory is free later.
func TestShared(t *testing.T) {
	t.Parallel()
	k := &kubelet{}
	w := newWorld(t, k, nil)
	path := "/api/v1/nodes/host-1/proxy/metrics/resource"
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { w.get(t, path) })
	}
	all.Wait()
	if n := k.requests.Load(); n != 1 {
		t.Errorf("the kubelet saw %d requests of 20, want 1", n)
	}
	w.get(t, path+"?only_cpu_and_memory=true")
	if n := k.requests.Load(); n != 1 {
		t.Errorf("the kubelet saw %d requests, want 1: the option of a summary changes no other path", n)
	}
	w.get(t, strings.Replace(path, "host-1", "other", 1))
	if n := k.requests.Load(); n != 2 {
		t.Errorf("the kubelet saw %d requests, want 2: another node has an answer of its own", n)
	}
	w.clock.Step(keepAnswer)
	if w.clock.HasWaiters() {
		t.Error("answers are kept for longer than keepAnswer")
	}
	w.get(t, path)
	if n := k.requests.Load(); n != 3 {
		t.Errorf("the kubelet saw %d requests, want 3 after keepAnswer", n)
	}
}

// TestLongImage checks that an image which a tenant has written into a status does not multiply.
func TestLongImage(t *testing.T) {
	t.Parallel()
	pod, long := front(), strings.Repeat("x", 1<<20)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "nginx", Image: long}, {Name: "", Image: long}}
	var in strings.Builder
	in.WriteString("# TYPE container_cpu_usage_seconds_total counter\n")
	for i := range 50 {
		fmt.Fprintf(&in, "container_cpu_usage_seconds_total{container=\"nginx\",cpu=\"%d\",image=\"i\",namespace=\"tenant-shop\",pod=\"%s\"} 1\n", i, hostName("front-0"))
	}
	pods, header := newPodSet(shop(), []corev1.Pod{*pod}), http.Header{"Content-Type": {textType}}
	out, err := pods.filterText(strings.NewReader(in.String()), header, "metrics/cadvisor")
	if err != nil || len(out) == 0 || len(out) > 1<<20 {
		t.Errorf("%d bytes became %d: %v", in.Len(), len(out), err)
	}
}

// TestEphemeralContainer reads the image of an ephemeral container of the tenant. An operator may have one of the same name
// in the host pod.
func TestEphemeralContainer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		status []corev1.ContainerStatus
		want   bool
	}{
		"Started":  {"It is the tenant's.", []corev1.ContainerStatus{{Name: "debug", ContainerID: "containerd://1"}}, true},
		"NoStatus": {"It was just added, or an operator's has the name.", nil, false},
		"Waiting":  {"It has not started.", []corev1.ContainerStatus{{Name: "debug"}}, false},
		"Other":    {"Another one has started.", []corev1.ContainerStatus{{Name: "shell", ContainerID: "containerd://1"}}, false},
	} {
		pod := front()
		pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "busybox"}}}
		pod.Status.EphemeralContainerStatuses = tc.status
		if image, ok := imageOf(pod, "debug"); ok != tc.want || ok && image != "busybox" {
			t.Errorf("%s: %s got %q, %t, want %t", name, tc.reason, image, ok, tc.want)
		}
	}
}
