package nodeproxy

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestContainers checks that only containers of the virtual pod are served, by
// each operation that names one.
func TestContainers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason    string
		container string
		missing   bool
	}{
		"Own":       {reason: "a container of the virtual pod is served", container: "nginx"},
		"Init":      {reason: "an init container too, a native sidecar among them", container: "init"},
		"Ephemeral": {reason: "a debug container too", container: "debugger"},
		"Injected":  {reason: "a sidecar of the host's operator has an identity of its own and is not the tenant's", container: "mesh", missing: true},
		"Forged":    {reason: "a debug container of the tenant under a name that the host pod had before is not the one on the host", container: "proxy", missing: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			pod := h.virtual[testPod]
			pod.Spec.InitContainers = []corev1.Container{{Name: "init"}}
			for _, name := range []string{"debugger", "proxy"} {
				pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers,
					corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name}})
			}
			translate.SetAnnotation(h.pods[translate.Hashed(testCluster, testPod)], labels.LastApplied, `{"debug":{"debugger":"sent"}}`)
			h.refuse = func(w http.ResponseWriter, _ *http.Request) { writeStatus(w, http.StatusTeapot, "the host was asked") }
			p, _ := startProxy(t, h, nil)
			for _, path := range []string{
				"/containerLogs/web/front-0/", "/exec/web/front-0/", "/exec/web/front-0/uid-of-front-0/", "/attach/web/front-0/",
			} {
				want := reply{Code: http.StatusTeapot, Text: "the host was asked"}
				if tc.missing {
					want = reply{Code: http.StatusNotFound, Text: fmt.Sprintf("container %q not found in pod %q", tc.container, "front-0")}
				}
				header := upgradeToSPDY
				method := http.MethodPost
				if strings.HasPrefix(path, "/containerLogs") {
					header, method = nil, http.MethodGet
				}
				if diff := cmp.Diff(want, sendRequest(t, p, method, path+tc.container, header)); diff != "" {
					t.Errorf("%s\n%s%s (-want +got):\n%s", tc.reason, path, tc.container, diff)
				}
			}
			if n := len(h.requests()); tc.missing && n > 0 {
				t.Errorf("%s\nthe host saw %d requests, want none", tc.reason, n)
			}
		})
	}
}

// TestPanic checks that a panic costs one request, and that it is counted.
func TestPanic(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	registry := metrics.NewKubeRegistry()
	var calls atomic.Int32
	p, _ := startProxy(t, h, func(o *Options) {
		o.Register = registry.Register
		o.Pods = podsFunc(func(key types.NamespacedName) (metav1.Object, error) {
			if calls.Add(1) == 1 {
				panic("a bug")
			}
			return nil, notFound(key)
		})
	})
	const path = "/containerLogs/web/front-0/nginx"
	want := reply{Code: http.StatusInternalServerError, Text: "internal error of the virtual cluster"}
	if diff := cmp.Diff(want, sendRequest(t, p, http.MethodGet, path, nil)); diff != "" {
		t.Errorf("the request that met the panic (-want +got):\n%s", diff)
	}
	if got := sendRequest(t, p, http.MethodGet, path, nil); got.Code != http.StatusNotFound {
		t.Errorf("the next request: got %v, want 404", got)
	}
	wantMetrics := `
# HELP sublet_nodeproxy_panics_total [ALPHA] Requests to kubelets of the virtual cluster that ended in a panic. Each is a bug; its stack is in the log.
# TYPE sublet_nodeproxy_panics_total counter
sublet_nodeproxy_panics_total{operation="containerLogs"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(wantMetrics), "sublet_nodeproxy_panics_total"); err != nil {
		t.Error(err)
	}
}
