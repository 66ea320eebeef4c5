package nodeproxy

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/proxy"
	translator "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"

	"github.com/sublet-dev/sublet/pkg/translate"
)

const hostToken = "token-of-the-control-plane"

var (
	testCluster = translate.Cluster{UID: "6d1f", Name: "shop", Namespace: "tenant-shop"}
	testPod     = types.NamespacedName{Namespace: "web", Name: "front-0"}
)

// fakeHost is the host's API server with one pod in it. It speaks to clients
// as the real one does, and its containers are functions.
type fakeHost struct {
	server *httptest.Server
	pods   map[types.NamespacedName]metav1.Object
	// virtual are the pods of the virtual cluster.
	virtual map[types.NamespacedName]*corev1.Pod
	// logs answers pods/log.
	logs http.HandlerFunc
	// run is what a container does on exec and attach.
	run func(ctx context.Context, container string, command []string, stdin io.Reader, stdout, stderr io.WriteCloser, tty bool) error
	// refuse, if set, answers every subresource instead.
	refuse http.HandlerFunc
	// conns are all connections to the host.
	conns *breakable

	mu   sync.Mutex
	seen []*http.Request
}

// newFakeHost starts a host with the copy of testPod.
func newFakeHost(t *testing.T) *fakeHost {
	t.Helper()
	h := &fakeHost{
		pods:    map[types.NamespacedName]metav1.Object{},
		virtual: map[types.NamespacedName]*corev1.Pod{testPod: virtualPod(testPod, "nginx")},
	}
	h.add(hostPod(testCluster, testPod))
	h.server = httptest.NewUnstartedServer(h)
	h.server.EnableHTTP2 = true
	h.conns = &breakable{Listener: h.server.Listener}
	h.server.Listener = h.conns
	h.server.StartTLS()
	t.Cleanup(h.server.Close)
	return h
}

// breakable is a listener whose connections can be broken, also those that
// have switched protocols.
type breakable struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (b *breakable) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns = append(b.conns, conn)
	return conn, err
}

func (b *breakable) breakAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, conn := range b.conns {
		_ = conn.Close()
	}
}

// hostPod returns the copy of a virtual pod.
func hostPod(cluster translate.Cluster, virtual types.NamespacedName) *metav1.PartialObjectMetadata {
	pod := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}}
	translate.Stamp(cluster, translate.Hashed, virtual, types.UID("uid-of-"+virtual.Name), pod)
	return pod
}

// virtualPod returns the pod of which hostPod is the copy.
func virtualPod(key types.NamespacedName, containers ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: types.UID("uid-of-" + key.Name)}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "app", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "app"}},
	}}}
	for _, name := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: name})
	}
	return pod
}

func (h *fakeHost) add(pod metav1.Object) {
	h.pods[types.NamespacedName{Namespace: pod.GetNamespace(), Name: pod.GetName()}] = pod
}

// config reaches the host as a pod does: by token and CA.
func (h *fakeHost) config() *rest.Config {
	return &rest.Config{
		Host:            h.server.URL,
		BearerToken:     hostToken,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true},
		Timeout:         time.Nanosecond, // must not limit logs
	}
}

// HostPod implements [HostPods].
func (h *fakeHost) HostPod(_ context.Context, key types.NamespacedName) (metav1.Object, error) {
	if pod, ok := h.pods[key]; ok {
		return pod, nil
	}
	return nil, notFound(key)
}

// virtualPod returns a virtual pod, or an error if there is none.
func (h *fakeHost) virtualPod(_ context.Context, key types.NamespacedName) (*corev1.Pod, error) {
	if strings.ContainsAny(key.String(), "%") || strings.Count(key.String(), "/") != 1 {
		return nil, fmt.Errorf("invalid resource name %q", key.Name) // as clients fail
	}
	if pod, ok := h.virtual[key]; ok {
		return pod, nil
	}
	return nil, notFound(key)
}

// requests returns the requests for subresources so far.
func (h *fakeHost) requests() []*http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*http.Request(nil), h.seen...)
}

func (h *fakeHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/kubelet/") {
		h.serveStream(w, r)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+hostToken {
		writeStatus(w, http.StatusUnauthorized, "Unauthorized")
		return
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/"), "/")
	pod, ok := h.pods[types.NamespacedName{Namespace: parts[0], Name: parts[2]}]
	switch {
	case !ok:
		writeStatus(w, http.StatusNotFound, fmt.Sprintf("pods %q not found", parts[2]))
	case len(parts) == 3:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(pod)
	default:
		h.mu.Lock()
		h.seen = append(h.seen, r)
		h.mu.Unlock()
		h.serveSubresource(w, r, parts[3])
	}
}

func (h *fakeHost) serveSubresource(w http.ResponseWriter, r *http.Request, subresource string) {
	if h.refuse != nil {
		h.refuse(w, r)
		return
	}
	if subresource == "log" {
		h.logs(w, r)
		return
	}
	// As in the real API server: the newest WebSocket protocols are translated
	// to SPDY for the kubelet, all else goes through.
	kubelet, _ := url.Parse(h.server.URL + "/kubelet/" + subresource + "?" + r.URL.RawQuery)
	query := r.URL.Query()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	through := proxy.NewUpgradeAwareHandler(kubelet, transport, false, true, responder{})
	switch {
	case wsstream.IsWebSocketRequestWithStreamCloseProtocol(r):
		translator.NewStreamTranslatorHandler(kubelet, transport, 0, translator.Options{
			Stdin: query.Get("stdin") == "true", Stdout: query.Get("stdout") == "true",
			Stderr: query.Get("stderr") == "true", Tty: query.Get("tty") == "true",
		}).ServeHTTP(w, r)
	case wsstream.IsWebSocketRequestWithTunnelingProtocol(r):
		translator.NewTunnelingHandler(through).ServeHTTP(w, r)
	default:
		through.ServeHTTP(w, r)
	}
}

// serveStream serves as the host's kubelet.
func (h *fakeHost) serveStream(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	options := &remotecommand.Options{
		Stdin: query.Get("stdin") == "true", Stdout: query.Get("stdout") == "true",
		Stderr: query.Get("stderr") == "true", TTY: query.Get("tty") == "true",
	}
	const wait = time.Minute
	switch strings.TrimPrefix(r.URL.Path, "/kubelet/") {
	case "exec":
		remotecommand.ServeExec(w, r, h, "pod", "uid", query.Get("container"), query["command"], options, time.Hour, wait, remotecommand.SupportedStreamingProtocols)
	case "attach":
		remotecommand.ServeAttach(w, r, h, "pod", "uid", query.Get("container"), options, time.Hour, wait, remotecommand.SupportedStreamingProtocols)
	case "portforward":
		portforward.ServePortForward(w, r, h, "pod", "uid", &portforward.V4Options{}, time.Hour, wait, portforward.SupportedProtocols)
	}
}

func (h *fakeHost) ExecInContainer(ctx context.Context, _, _, container string, command []string, stdin io.Reader, stdout, stderr io.WriteCloser, tty bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return h.run(ctx, container, command, stdin, stdout, stderr, tty)
}

func (h *fakeHost) AttachContainer(ctx context.Context, _, _, container string, stdin io.Reader, stdout, stderr io.WriteCloser, tty bool, _ <-chan remotecommand.TerminalSize) error {
	return h.run(ctx, container, nil, stdin, stdout, stderr, tty)
}

// PortForward answers in capitals, with the port ahead.
func (h *fakeHost) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer func() { _ = stream.Close() }()
	buffer := make([]byte, 1024)
	n, err := stream.Read(buffer)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stream, "%d %s", port, strings.ToUpper(string(buffer[:n])))
	return err
}

// echo runs as a container that repeats its input and ends with a code.
func echo(_ context.Context, container string, command []string, stdin io.Reader, stdout, stderr io.WriteCloser, tty bool) error {
	if stderr != nil {
		_, _ = fmt.Fprintf(stderr, "%s %q tty=%t\n", container, command, tty)
	}
	if stdin != nil {
		_, _ = io.Copy(stdout, stdin)
	}
	if len(command) > 0 && command[0] == "exit" {
		return utilexec.CodeExitError{Err: fmt.Errorf("exit %s", command[1]), Code: 3}
	}
	return nil
}

// virtualAPI relays to a kubelet as the virtual API server does. With translates it
// translates the newest WebSocket protocols to SPDY, as for nodes without that feature.
func virtualAPI(t *testing.T, p *Proxy, translates bool) *httptest.Server {
	t.Helper()
	transport := &http.Transport{DialContext: p.Dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kubelet := &url.URL{Scheme: "https", Host: "node-7:10250", Path: r.URL.Path, RawQuery: r.URL.RawQuery}
		query := r.URL.Query()
		through := proxy.NewUpgradeAwareHandler(kubelet, transport, false, false, responder{})
		switch {
		case translates && wsstream.IsWebSocketRequestWithStreamCloseProtocol(r):
			translator.NewStreamTranslatorHandler(kubelet, transport, 0, translator.Options{
				Stdin: query.Get("input") == "1", Stdout: query.Get("output") == "1", Stderr: query.Get("error") == "1", Tty: query.Get("tty") == "1",
			}).ServeHTTP(w, r)
		case translates && wsstream.IsWebSocketRequestWithTunnelingProtocol(r):
			translator.NewTunnelingHandler(through).ServeHTTP(w, r)
		default:
			through.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// startProxy starts a proxy for the host, and checks at the end that it stops.
func startProxy(t *testing.T, h *fakeHost, change func(*Options)) (p *Proxy, stop func()) {
	t.Helper()
	options := Options{Host: h.config(), Cluster: testCluster, Pods: h, VirtualPod: h.virtualPod, Register: metrics.NewKubeRegistry().Register}
	if change != nil {
		change(&options)
	}
	p, err := New(options)
	if err != nil {
		t.Fatalf("New(...): %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run(...): %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("Run(...) still runs 10 s after its context ended")
		}
	})
	t.Cleanup(stop)
	return p, stop
}

// kubelet returns a client that speaks to a kubelet over the proxy's connections.
func kubelet(t *testing.T, p *Proxy) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: p.Dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func writeStatus(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Message: message, Code: int32(code),
	})
}

type responder struct{}

func (responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusInternalServerError)
}
