package egress

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/egress"
	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/pkg/translate"
	"github.com/sublet-dev/sublet/test/await"
	"github.com/sublet-dev/sublet/test/ports"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	patience = await.Limit
	// podIP is the address of the tenant's only real pod.
	podIP = "10.1.0.5"
	// loopbackName is a DNS name that resolves to loopback.
	loopbackName = "loopback.example.com"
)

// world is a virtual cluster whose API server dials through the dialer under test.
type world struct {
	config  *rest.Config // a tenant's, over TLS
	client  kubernetes.Interface
	dynamic dynamic.Interface

	// trap listens on all addresses of the machine and counts connections.
	trap     net.Listener
	reached  atomic.Int64
	outside  string // an address of the machine that is not loopback
	served   *httptest.Server
	redirect atomic.Bool // whether the tenant's webhook redirects to the trap
	asked    atomic.Int64

	mu   sync.Mutex
	host map[types.NamespacedName]*corev1.Pod
}

func release() translate.Cluster {
	return translate.Cluster{UID: "6d1f", Name: "shop", Namespace: "tenant-shop"}
}

// newWorld starts a virtual cluster with a pod that serves, and a trap.
func newWorld(t *testing.T) *world {
	t.Helper()
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	w := &world{host: map[types.NamespacedName]*corev1.Pod{}}
	w.setTrap(t)
	w.served = httptest.NewTLSServer(http.HandlerFunc(w.servePod))
	t.Cleanup(w.served.Close)

	objects := &egress.Objects{}
	dialer, err := egress.New(egress.Options{
		Cluster: release(), Virtual: objects, HostPod: w.hostPod,
		Resolve: func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if host == loopbackName+"." {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		},
		Connect: func(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
			target := address.String()
			if address.Addr() == netip.MustParseAddr(podIP) {
				target = w.served.Listener.Addr().String()
			}
			return new(net.Dialer).DialContext(ctx, "tcp", target)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	plane := w.startPlane(t, dialer)
	run(t, func(ctx context.Context) error { return objects.Watch(ctx, plane.Informers(), ctx.Done()) })
	w.makeNamespace(t, "web")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "somewhere"}}
	if _, err := w.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := w.makePod(t, "web", "front", podIP)
	host := &corev1.Pod{Status: pod.Status}
	translate.Stamp(release(), translate.Hashed, types.NamespacedName{Namespace: "web", Name: "front"}, pod.UID, host)
	w.mu.Lock()
	w.host[types.NamespacedName{Namespace: host.Namespace, Name: host.Name}] = host
	w.mu.Unlock()
	return w
}

// startPlane starts the API server, and makes the clients of its tenant.
func (w *world) startPlane(t *testing.T, dialer *egress.Dialer) *controlplane.ControlPlane {
	t.Helper()
	bundle, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	store := storage.Embedded(t.TempDir())
	store.NoSync = true
	plane, err := controlplane.New(controlplane.Config{
		Storage: store, PKI: bundle, Listener: listener, Dial: dialer.DialContext,
		// As the node proxy: nothing is dialled for a kubelet.
		KubeletDial: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			return client, server.Close()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, plane.RunWithControllers)
	select {
	case <-plane.Ready():
	case <-time.After(patience):
		t.Fatal("the API server is not ready")
	}
	kubeconfig, err := bundle.Kubeconfig("https://"+listener.Addr().String(), "test", "tenant", pki.GroupAdmins)
	if err != nil {
		t.Fatal(err)
	}
	if w.config, err = clientcmd.RESTConfigFromKubeConfig(kubeconfig); err != nil {
		t.Fatal(err)
	}
	w.config.QPS = -1
	w.client, w.dynamic = kubernetes.NewForConfigOrDie(w.config), dynamic.NewForConfigOrDie(w.config)
	return plane
}

// setTrap opens the listener that nothing may reach.
func (w *world) setTrap(t *testing.T) {
	t.Helper()
	// Clients of servers that have ended still call at the ports that the system gives.
	_, port, err := net.SplitHostPort(ports.Free(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	trap, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":"+port)
	if err != nil {
		t.Fatal(err)
	}
	w.trap = trap
	t.Cleanup(func() { _ = trap.Close() })
	go func() {
		for {
			conn, err := trap.Accept()
			if err != nil {
				return
			}
			w.reached.Add(1)
			_ = conn.Close()
		}
	}()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.IsGlobalUnicast() && network.IP.To4() != nil {
			w.outside = network.IP.String()
			return
		}
	}
	// Whether nobody or the trap has the address, the dialer must refuse it.
	w.outside = "192.0.2.1"
}

// trapPort returns the port of the trap.
func (w *world) trapPort() int { return w.trap.Addr().(*net.TCPAddr).Port }

// trapAt returns the address of the trap on a host.
func (w *world) trapAt(host string) string { return net.JoinHostPort(host, fmt.Sprint(w.trapPort())) }

// servePod answers as the tenant's pod: a server, and a webhook that denies or redirects.
func (w *world) servePod(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/admit" {
		_, _ = io.WriteString(rw, "hello from the pod")
		return
	}
	if w.redirect.Load() {
		http.Redirect(rw, r, "https://"+w.trapAt(w.outside)+"/", http.StatusTemporaryRedirect)
		return
	}
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{
		UID: review.Request.UID, Allowed: false, Result: &metav1.Status{Message: "the tenant's webhook was asked"},
	}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(review)
}

// servedCA returns the certificate of the pod's server as PEM.
func (w *world) servedCA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.served.Certificate().Raw})
}

func (w *world) hostPod(_ context.Context, key types.NamespacedName) (*corev1.Pod, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if pod, ok := w.host[key]; ok {
		return pod, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("pods"), key.Name)
}

// run runs a part until the test ends.
func run(t *testing.T, part func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("a part ended with %v", err)
		}
	})
}

func (w *world) makeNamespace(t *testing.T, name string) {
	t.Helper()
	_, err := w.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "service account of "+name, func() error {
		_, err := w.client.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
}

// makePod makes a virtual pod whose status has the address, as a tenant can write it.
func (w *world) makePod(t *testing.T, namespace, name, ip string) *corev1.Pod {
	t.Helper()
	pod, err := w.client.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: "somewhere", Containers: []corev1.Container{{Name: "main", Image: "main"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	pod, err = w.client.CoreV1().Pods(namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// get sends a GET request of the tenant and returns the body of the answer.
func (w *world) get(t *testing.T, path string, upgrade bool) string {
	t.Helper()
	tlsConfig, err := rest.TLSConfigFor(w.config)
	if err != nil {
		t.Fatal(err)
	}
	tlsConfig.NextProtos = []string{"http/1.1"}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: tlsConfig, DisableKeepAlives: true, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.config.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if upgrade {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "SPDY/3.1")
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var status metav1.Status
	if json.Unmarshal(body, &status) == nil && status.Kind == "Status" {
		return status.Message
	}
	return strings.TrimSpace(string(body))
}

// eventually waits until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	await.Until(t, what, func(context.Context) error { return check() })
}

// golden compares a text with its file.
func (w *world) golden(t *testing.T, name, text string) {
	t.Helper()
	text = strings.NewReplacer(w.outside, "192.0.2.7", fmt.Sprint(w.trapPort()), "9443").Replace(text) + "\n"
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got); -update rewrites it:\n%s", file, diff)
	}
}
