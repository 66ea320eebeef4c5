package kubeletmetrics

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/translate"
)

var update = flag.Bool("update", false, "write the golden files")

const hostToken = "token-of-the-control-plane"

// shop returns the identity of the virtual cluster.
func shop() translate.Cluster {
	return translate.Cluster{UID: "6d1f", Name: "shop", Namespace: "tenant-shop"}
}

// kubelet is a kubelet of the host. It has the answers in testdata/kubelet.
type kubelet struct {
	requests atomic.Int64
	// protobuf answers as kubelets do whose client accepts it.
	protobuf bool
	// handle answers instead, if it is set.
	handle http.HandlerFunc
	// asked are the requests.
	asked chan *http.Request
}

// ServeHTTP implements http.Handler.
func (k *kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.requests.Add(1)
	if k.asked != nil {
		k.asked <- r
	}
	if r.Header.Get("Authorization") != "Bearer "+hostToken {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if k.handle != nil {
		k.handle(w, r)
		return
	}
	text, err := os.ReadFile(filepath.Join("testdata", "kubelet", fileOf(r.URL.Path)))
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	text = bytes.ReplaceAll(text, []byte("@HOST@"), []byte(hostName("front-0")))
	text = bytes.ReplaceAll(text, []byte("@NET@"), []byte(hostName("probe")))
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	if k.protobuf && strings.HasPrefix(r.Header.Get("Accept"), "application/vnd.google.protobuf") {
		w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
		text = toProtobuf(text)
	}
	_, _ = w.Write(text)
}

// fileOf returns the name of the file with the answer to a path.
func fileOf(path string) string {
	return strings.ReplaceAll(strings.Trim(path, "/"), "/", "-") + ".txt"
}

// toProtobuf converts metrics to the form that can be read in pieces.
func toProtobuf(text []byte) []byte {
	var out bytes.Buffer
	decoder := expfmt.NewDecoder(bytes.NewReader(text), expfmt.NewFormat(expfmt.TypeTextPlain))
	encoder := expfmt.NewEncoder(&out, expfmt.NewFormat(expfmt.TypeProtoDelim))
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); errors.Is(err, io.EOF) {
			return out.Bytes()
		} else if err != nil {
			panic(err)
		}
		if err := encoder.Encode(&family); err != nil {
			panic(err)
		}
	}
}

// hostName returns the name of the copy of a virtual pod.
func hostName(name string) string {
	return translate.Hashed(shop(), types.NamespacedName{Namespace: "web", Name: name}).Name
}

// world is a virtual cluster with the metrics of one kubelet.
type world struct {
	kubelet *kubelet
	clock   *clocktesting.FakeClock
	handler http.Handler
}

// newWorld creates a virtual cluster on a host with one node.
func newWorld(t *testing.T, k *kubelet, change func(*Options)) *world {
	t.Helper()
	server := httptest.NewTLSServer(k)
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(node("host-1", 10250, "203.0.113.9"), node("other", 10250, "203.0.113.9"), front(), probe())
	port, err := strconv.ParseInt(address.Port(), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{kubelet: k, clock: clocktesting.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}
	options := Options{
		Enabled: true, Cluster: shop(), Clock: w.clock,
		Host:    &rest.Config{Host: "https://host.example", BearerToken: hostToken, TLSClientConfig: rest.TLSClientConfig{CAData: certificateOf(server)}},
		Virtual: func() kubernetes.Interface { return client },
		HostNode: func(_ context.Context, name string) (*corev1.Node, error) {
			return node(name, int32(port), address.Hostname()), nil
		},
	}
	if change != nil {
		change(&options)
	}
	h, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	resolver := genericapirequest.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	wrapped := h.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	w.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, err := resolver.NewRequestInfo(r)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		wrapped.ServeHTTP(w, r.WithContext(genericapirequest.WithRequestInfo(r.Context(), info)))
	})
	return w
}

// get sends a request of a tenant.
func (w *world) get(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	return w.send(t, http.MethodGet, path)
}

// send sends a request of a tenant.
func (w *world) send(t *testing.T, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	request.Header.Set("Authorization", "Bearer token-of-the-tenant")
	w.handler.ServeHTTP(recorder, request)
	return recorder
}

// node returns a node.
func node(name string, port int32, address string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "nowhere.invalid"}, {Type: corev1.NodeInternalIP, Address: address}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = port
	return n
}

// front returns a virtual pod with volumes of all sorts.
func front() *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "front-0", UID: "00000000-0000-4000-8000-000000000001"},
		Spec:       corev1.PodSpec{NodeName: "host-1", Containers: []corev1.Container{{Name: "nginx", Image: "nginx:1.29"}}},
	}
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
		{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
		{Name: "tmp"},
	}
	return pod
}

// probe returns a virtual pod in the network of its node.
func probe() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "probe", UID: "00000000-0000-4000-8000-000000000002"},
		Spec:       corev1.PodSpec{NodeName: "host-1", HostNetwork: true},
	}
}
