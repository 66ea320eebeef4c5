package metricsapi

import (
	"bytes"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	hostrest "k8s.io/client-go/rest"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/pkg/translate"
)

var update = flag.Bool("update", false, "write the golden files")

// shop returns the identity of the virtual cluster.
func shop() translate.Cluster {
	return translate.Cluster{UID: "6d1f", Name: "shop", Namespace: "tenant-shop"}
}

// measuredAt is when the host measured. The clock of the tests is a little ahead.
var measuredAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// hostAPI is the host's metrics API.
type hostAPI struct {
	list     v1beta1.PodMetricsList
	status   int
	requests atomic.Int64
	// block delays answers until it is closed, if it is set.
	block chan struct{}
	// asked are the URLs of the requests.
	asked chan string
}

// ServeHTTP implements http.Handler.
func (h *hostAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.requests.Add(1)
	if h.asked != nil {
		h.asked <- r.URL.String()
	}
	if h.block != nil {
		<-h.block
	}
	w.Header().Set("Content-Type", "application/json")
	if h.status != 0 {
		w.WriteHeader(h.status)
		reason := map[int]metav1.StatusReason{403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound, 503: metav1.StatusReasonServiceUnavailable}
		_, _ = w.Write(encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
			Reason: reason[h.status], Code: int32(h.status), Message: "secret of the host",
		}))
		return
	}
	h.list.TypeMeta = metav1.TypeMeta{APIVersion: "metrics.k8s.io/v1beta1", Kind: "PodMetricsList"}
	_, _ = w.Write(encode(h.list))
}

// encode returns JSON. All of its values have some.
func encode(value any) []byte {
	text, err := yaml.Marshal(value)
	if err == nil {
		text, err = yaml.YAMLToJSON(text)
	}
	if err != nil {
		panic(err)
	}
	return text
}

// world is a virtual cluster with the metrics API, on a host.
type world struct {
	host  *hostAPI
	clock *clocktesting.FakeClock
	pods  *podStorage
	nodes *nodeStorage
	// scheme converts to what tenants get.
	scheme *runtime.Scheme
}

// newWorld returns a virtual cluster with objects.
func newWorld(t *testing.T, host *hostAPI, objects ...runtime.Object) *world {
	t.Helper()
	server := httptest.NewServer(host)
	t.Cleanup(server.Close)
	client := fake.NewClientset(objects...)
	w := &world{host: host, clock: clocktesting.NewFakeClock(measuredAt.Add(3 * time.Second))}
	// A transport of its own, whose connections end with the server.
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	group, err := New(Options{
		Host: &hostrest.Config{Host: server.URL, Transport: transport}, Cluster: shop(), Pods: true, Nodes: true, Clock: w.clock,
		Virtual: func() kubernetes.Interface { return client },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.scheme = group.Scheme
	storages := group.VersionedResourcesStorageMap["v1beta1"]
	w.pods, _ = storages["pods"].(*podStorage)
	w.nodes, _ = storages["nodes"].(*nodeStorage)
	return w
}

// list lists all that a storage has.
func list(t *testing.T, storage rest.Lister, namespace string) (runtime.Object, error) {
	t.Helper()
	return storage.List(genericapirequest.WithNamespace(t.Context(), namespace), nil)
}

// pod returns a virtual pod.
func pod(namespace, name, node string, containers ...string) *corev1.Pod {
	made := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: node},
	}
	for _, container := range containers {
		made.Spec.Containers = append(made.Spec.Containers, corev1.Container{Name: container})
	}
	return made
}

// hostName returns the name of the copy of a virtual pod.
func hostName(namespace, name string) string {
	return translate.Hashed(shop(), types.NamespacedName{Namespace: namespace, Name: name}).Name
}

// checkGolden compares an object with testdata/NAME.yaml.
func checkGolden(t *testing.T, name string, objects ...any) {
	t.Helper()
	var got bytes.Buffer
	for _, object := range objects {
		text, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString("---\n")
		got.Write(text)
	}
	file := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s: -want, +got:\n%s", file, diff)
	}
}
