package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/admission"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/pkg/translate"
	"github.com/sublet-dev/sublet/test/await"
)

// patience is how long a test waits for what takes milliseconds on an idle machine.
const patience = await.Limit

// clusters are the two API servers that all tests share.
type clusters struct {
	host, virtual *cluster
	first         *switchboard
	nodes         *nodeSwitch
	hooks         *hostHooks
}

// cluster is one API server.
type cluster struct {
	plane   *controlplane.ControlPlane
	bundle  *pki.Bundle
	address string
	client  client.Client
}

// both starts the two API servers, once.
var both = sync.OnceValues(func() (*clusters, error) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	hooks := &hostHooks{}
	host, err := startCluster("host", (*controlplane.ControlPlane).RunWithControllers, controlplane.Config{Admission: []controlplane.Plugin{{Name: "Hooks", Interface: hooks}}})
	if err != nil {
		return nil, err
	}
	board := &switchboard{}
	nodes := &nodeSwitch{}
	virtual, err := startCluster("virtual", (*controlplane.ControlPlane).RunWithControllers, controlplane.Config{
		Admission: []controlplane.Plugin{{Name: "Nodes", Interface: nodes}, {Name: "Policies", Interface: newPoliced()}},
		HostFirst: []controlplane.HostFirst{admission.Services(admission.ServiceOptions{Host: board})},
	})
	if err != nil {
		return nil, err
	}
	return &clusters{host: host, virtual: virtual, first: board, nodes: nodes, hooks: hooks}, nil
})

// startCluster starts a cluster by run, with or without controllers. It ends with the process, and its files are in
// a temporary folder.
func startCluster(name string, run func(*controlplane.ControlPlane, context.Context) error, config controlplane.Config) (*cluster, error) {
	dir, err := os.MkdirTemp("", "sublet-integration-"+name)
	if err != nil {
		return nil, err
	}
	bundle, err := pki.New(time.Now())
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	store := storage.Embedded(dir)
	store.NoSync = true
	config.Storage, config.PKI, config.Listener = store, bundle, listener
	plane, err := controlplane.New(config)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	running.Go(func() {
		ended <- run(plane, stopping)
		_ = os.RemoveAll(dir)
	})
	select {
	case <-plane.Ready():
	case err := <-ended:
		return nil, fmt.Errorf("the %s API server ended: %w", name, err)
	case <-time.After(patience):
		return nil, fmt.Errorf("the %s API server is not ready", name)
	}
	c, err := client.New(plane.ClientConfig("admin", pki.GroupAdmins), client.Options{})
	if err != nil {
		return nil, err
	}
	return &cluster{plane: plane, bundle: bundle, address: listener.Addr().String(), client: c}, nil
}

// memory returns a client configuration that needs no network.
func (c *cluster) memory() *rest.Config {
	return c.plane.ClientConfig("system:sublet:syncer", pki.GroupAdmins)
}

// wire returns a client configuration over TLS, on a line that the test can cut.
func (c *cluster) wire(t *testing.T) (*rest.Config, *line) {
	t.Helper()
	kubeconfig, err := c.bundle.Kubeconfig("https://"+c.address, "test", "syncer", pki.GroupAdmins)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	l := &line{open: map[net.Conn]struct{}{}}
	config.Dial = l.dial
	return config, l
}

// line is what connections run over.
type line struct {
	mu   sync.Mutex
	dead bool
	open map[net.Conn]struct{}
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	dead := l.dead
	l.mu.Unlock()
	if dead {
		return nil, fmt.Errorf("dial %s %s: the line is cut", network, address)
	}
	connection, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		l.mu.Lock()
		l.open[connection] = struct{}{}
		l.mu.Unlock()
	}
	return connection, err
}

// cut ends all connections and allows no new ones; mend allows them again.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for connection := range l.open {
		_ = connection.Close()
		delete(l.open, connection)
	}
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = false
}

// release is what one test has: a namespace on each side, and an anchor.
type release struct {
	*clusters
	cluster   translate.Cluster
	namespace string // of both sides
}

// newRelease sets up a release for a test and takes it away in the end. Pods can be created
// at once: their service account exists.
func newRelease(t testing.TB) *release {
	t.Helper()
	c, err := both()
	if err != nil {
		t.Fatal(err)
	}
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	for _, side := range []*cluster{c.host, c.virtual} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := side.client.Create(t.Context(), namespace); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { c.clear(name) })
	anchor := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "shop-anchor"}}
	if err := c.host.client.Create(t.Context(), anchor); err != nil {
		t.Fatal(err)
	}
	for side, c := range map[string]*cluster{"host": c.host, "virtual": c.virtual} {
		eventually(t, "service account of the "+side+" namespace", func(ctx context.Context) error {
			return c.client.Get(ctx, client.ObjectKey{Namespace: name, Name: "default"}, &corev1.ServiceAccount{})
		})
	}
	return &release{clusters: c, namespace: name, cluster: translate.Cluster{
		UID: string(anchor.UID), Name: "shop", Namespace: name,
		Anchor: metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: anchor.Name, UID: anchor.UID},
	}}
}

// clear takes the namespaces of a release away, so that the engines of later tests
// have nothing to do with what this one left. Nobody waits for pods to end: their
// kubelets have gone.
func (c *clusters) clear(namespace string) {
	for _, side := range []*cluster{c.virtual, c.host} {
		_ = side.client.DeleteAllOf(stopping, &corev1.Pod{}, client.InNamespace(namespace), client.GracePeriodSeconds(0))
		_ = side.client.Delete(stopping, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	}
}

// hostKey returns where the host copy of a virtual object is.
func (r *release) hostKey(name string) client.ObjectKey {
	return translate.Hashed(r.cluster, r.virtualKey(name))
}

func (r *release) virtualKey(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: r.namespace, Name: name}
}

// eventually waits until check returns nil.
func eventually(t testing.TB, what string, check func(ctx context.Context) error) {
	t.Helper()
	await.Until(t, what, check)
}

// hasSlice reports whether a Service has a slice with the address.
func (c *cluster) hasSlice(ctx context.Context, service client.ObjectKey, address string) error {
	slices := &discoveryv1.EndpointSliceList{}
	err := c.client.List(ctx, slices, client.InNamespace(service.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service.Name})
	if err != nil {
		return err
	}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if len(endpoint.Addresses) > 0 && endpoint.Addresses[0] == address {
				return nil
			}
		}
	}
	return fmt.Errorf("%d slices, none with %s", len(slices.Items), address)
}
