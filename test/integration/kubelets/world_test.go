package kubelets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/klog/v2"
	utilexec "k8s.io/utils/exec"

	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/metricsapi"
	"github.com/sublet-dev/sublet/pkg/nodeproxy"
	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/pkg/translate"
	"github.com/sublet-dev/sublet/test/await"
)

const (
	virtualNamespace = "web"
	container        = "nginx"
	// virtualContainer is in the virtual pods only.
	virtualContainer = "only-virtual"
	// injectedContainer is in the host pods only.
	injectedContainer = "only-host"
	account           = "system:serviceaccount:tenant-shop:shop"
	patience          = await.Limit
)

// release returns the identity of the virtual cluster on its host.
func release() translate.Cluster {
	return translate.Cluster{
		UID: "6d1f", Name: "shop", Namespace: "tenant-shop",
		Anchor: metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "shop-anchor", UID: "6d1f"},
	}
}

// hostName returns the host copy of a virtual pod.
func hostName(pod string) types.NamespacedName {
	return translate.Hashed(release(), types.NamespacedName{Namespace: virtualNamespace, Name: pod})
}

// world is a virtual cluster on a host, as its tenant sees it.
type world struct {
	config *rest.Config
	client *kubernetes.Clientset
}

// newWorld starts both clusters, with a node that understands WebSocket and one
// that does not, and a pod on each.
func newWorld(t *testing.T) *world {
	t.Helper()
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)

	kubelet := httptest.NewTLSServer(hostKubelet{})
	t.Cleanup(kubelet.Close)
	hostMetrics := &hostMetrics{}
	hostConfig := cluster(t, func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, kubelet.Listener.Addr().String())
	}, hostMetrics.group())
	admin := hostConfig("admin", pki.GroupAdmins)
	host := kubernetes.NewForConfigOrDie(admin)
	hostMetrics.client.Store(host)
	grant(t, host)

	w := &world{}
	proxy, err := nodeproxy.New(nodeproxy.Options{Host: hostConfig(account), Cluster: release(), VirtualPod: w.virtualPod})
	if err != nil {
		t.Fatal(err)
	}
	run(t, proxy.Run)
	metrics, err := metricsapi.New(metricsapi.Options{
		Host: hostConfig(account), Cluster: release(), Pods: true, Nodes: true,
		Virtual: func() kubernetes.Interface { return w.client },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.config = cluster(t, proxy.Dial, metrics)("admin", pki.GroupAdmins)
	w.client = kubernetes.NewForConfigOrDie(w.config)
	makeNamespace(t, w.client, virtualNamespace)

	addNode(t, host, "real")
	addNode(t, w.client, "old")
	addNode(t, w.client, "new", "ExtendWebSocketsToKubelet")
	for pod, node := range map[string]string{"on-old-node": "old", "on-new-node": "new", "virtual-only": "old"} {
		virtual := addPod(t, w.client, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: pod},
			Spec:       podSpec(node, container, virtualContainer),
		})
		if pod != "virtual-only" {
			copied := &corev1.Pod{Spec: podSpec("real", container, injectedContainer)}
			translate.Stamp(release(), translate.Hashed, types.NamespacedName{Namespace: virtualNamespace, Name: pod}, virtual.UID, copied)
			addPod(t, host, copied)
		}
	}
	return w
}

// virtualPod returns a pod of the virtual cluster.
func (w *world) virtualPod(ctx context.Context, key types.NamespacedName) (*corev1.Pod, error) {
	return w.client.CoreV1().Pods(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
}

// cluster starts an API server and gives the means to reach it over TLS.
func cluster(t *testing.T, dialKubelet func(context.Context, string, string) (net.Conn, error), added ...*controlplane.Group,
) func(user string, groups ...string) *rest.Config {
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
	plane, err := controlplane.New(controlplane.Config{Storage: store, PKI: bundle, Listener: listener, KubeletDial: dialKubelet, Groups: added})
	if err != nil {
		t.Fatal(err)
	}
	run(t, plane.RunWithControllers)
	select {
	case <-plane.Ready():
	case <-time.After(patience):
		t.Fatalf("the API server is not ready after %s", patience)
	}
	return func(user string, groups ...string) *rest.Config {
		kubeconfig, err := bundle.Kubeconfig("https://"+listener.Addr().String(), "test", user, groups...)
		if err != nil {
			t.Fatal(err)
		}
		config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		config.QPS = -1
		return config
	}
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

// grant gives the control plane's account all that the node proxy needs on the
// host, and nothing else.
func grant(t *testing.T, host kubernetes.Interface) {
	t.Helper()
	namespace := release().Namespace
	makeNamespace(t, host, namespace)
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "shop"}
	_, err := host.RbacV1().Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods", "pods/log"}, Verbs: []string{"get"}},
		{APIGroups: []string{"metrics.k8s.io"}, Resources: []string{"pods"}, Verbs: []string{"list"}},
		{APIGroups: []string{""}, Resources: []string{"pods/exec", "pods/attach", "pods/portforward"}, Verbs: []string{"get", "create"}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = host.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "shop"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: account}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: account, ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "get", Resource: "pods"},
	}}
	await.Until(t, "the host knows the role", func(ctx context.Context) error {
		answer, err := host.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err == nil && !answer.Status.Allowed {
			err = errors.New("it is not in force yet")
		}
		return err
	})
}

func makeNamespace(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	_, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// addNode makes a node whose addresses lead nowhere. No nameserver knows its name, as that of most nodes.
func addNode(t *testing.T, client kubernetes.Interface, name string, features ...string) {
	t.Helper()
	node, err := client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: name + ".invalid"}, {Type: corev1.NodeInternalIP, Address: "192.0.2.7"},
	}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = 10250
	node.Status.DeclaredFeatures = features
	if _, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func podSpec(node string, containers ...string) corev1.PodSpec {
	spec := corev1.PodSpec{NodeName: node}
	for _, name := range containers {
		spec.Containers = append(spec.Containers, corev1.Container{Name: name, Image: "example.org/none"})
	}
	return spec
}

// addPod makes a pod as soon as its namespace has a service account.
func addPod(t *testing.T, client kubernetes.Interface, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	await.Until(t, "service account of "+pod.Namespace, func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts(pod.Namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	made, err := client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// hostKubelet is the kubelet of the host's node. It speaks SPDY, as the host's API
// server does to it; its containers repeat their input.
type hostKubelet struct{}

// ServeHTTP implements http.Handler.
func (k hostKubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	switch parts[0] {
	case "containerLogs":
		_, _ = fmt.Fprintf(w, "log of %s/%s %s follow=%s tailLines=%s",
			parts[1], parts[2], parts[3], query.Get("follow"), query.Get("tailLines"))
	case "portForward":
		portforward.ServePortForward(w, r, k, parts[2], "", &portforward.V4Options{}, patience, patience, portforward.SupportedProtocols)
	default:
		options, err := remotecommand.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		remotecommand.ServeExec(w, r, k, parts[2], "", parts[3], query["command"], options, patience, patience, remotecommand.SupportedStreamingProtocols)
	}
}

// ExecInContainer repeats the input, prints the command, and ends with its code.
func (hostKubelet) ExecInContainer(_ context.Context, _, _, _ string, command []string, stdin io.Reader, stdout, stderr io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	_, _ = fmt.Fprintf(stderr, "%q", command)
	_, _ = io.Copy(stdout, stdin)
	if len(command) > 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("exit"), Code: 3}
	}
	return nil
}

// PortForward answers in capitals, with the port ahead.
func (hostKubelet) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer func() { _ = stream.Close() }()
	buffer := make([]byte, 64)
	n, err := stream.Read(buffer)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stream, "%d %s", port, strings.ToUpper(string(buffer[:n])))
	return err
}
