package controlplane

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/storage"

	etcdkubernetes "go.etcd.io/etcd/client/v3/kubernetes"
)

// sharedBackend lets several control planes use one store, which starts with the
// first and stops with the test.
type sharedBackend struct {
	storage.Backend
	once   *sync.Once
	client **etcdkubernetes.Client
}

// newSharedBackend returns a backend for several control planes.
func newSharedBackend(t *testing.T) sharedBackend {
	t.Helper()
	backend := throwAway(t.TempDir())
	t.Cleanup(backend.Stop)
	return sharedBackend{Backend: backend, once: &sync.Once{}, client: new(*etcdkubernetes.Client)}
}

// Start starts the store once.
func (b sharedBackend) Start(ctx context.Context) (client *etcdkubernetes.Client, err error) {
	b.once.Do(func() { *b.client, err = b.Backend.Start(ctx) })
	return *b.client, err
}

// Stop leaves the store to the other control planes.
func (sharedBackend) Stop() {}

// replica is one of several control planes on a store.
type replica struct {
	*ControlPlane
	running *running
	client  kubernetes.Interface
}

// startReplica starts an API server without controllers, and stops it with the test.
func startReplica(t *testing.T, store storage.Backend, bundle *pki.Bundle, address string) *replica {
	t.Helper()
	quiet()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{
		Storage: store, PKI: bundle, Listener: listener, Replicas: 2, Name: address, AdvertiseAddress: net.ParseIP(address),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := start(context.WithoutCancel(t.Context()), c.Run)
	t.Cleanup(func() {
		if err := server.stop(stopLimit); err != nil {
			t.Errorf("stop of %s: %v", address, err)
		}
	})
	select {
	case <-c.Ready():
	case <-server.done:
		t.Fatalf("%s ended before it was ready: %v", address, server.err)
	case <-time.After(patience):
		t.Fatalf("%s is not ready", address)
	}
	return &replica{c, server, kubernetes.NewForConfigOrDie(c.ClientConfig("admin", pki.GroupAdmins))}
}

// deploy creates a Deployment on one replica and waits until a controller has created
// its pod, as another replica sees it.
func deploy(t *testing.T, name string, from, seenBy *replica) {
	t.Helper()
	labels := map[string]string{"app": name}
	_, err := from.client.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/main"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "pod of "+name, func(ctx context.Context) string {
		pods, err := seenBy.client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
		switch {
		case err != nil:
			return err.Error()
		case len(pods.Items) != 1:
			return fmt.Sprintf("%d pods, want 1", len(pods.Items))
		}
		return ""
	})
}

// TestTwoReplicas runs two control planes on one store. Both serve; the controllers run
// on one, then on the other, then on the first again.
func TestTwoReplicas(t *testing.T) {
	t.Parallel()
	store, bundle := newSharedBackend(t), newBundle(t)
	one := startReplica(t, store, bundle, "10.1.0.1")
	two := startReplica(t, store, bundle, "10.1.0.2")

	eventually(t, "endpoints of default/kubernetes", func(ctx context.Context) string {
		slice, err := one.client.DiscoveryV1().EndpointSlices("default").Get(ctx, "kubernetes", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		var addresses []string
		for _, endpoint := range slice.Endpoints {
			addresses = append(addresses, endpoint.Addresses...)
		}
		slices.Sort(addresses)
		if want := []string{"10.1.0.1", "10.1.0.2"}; !slices.Equal(addresses, want) {
			return fmt.Sprintf("%v, want %v", addresses, want)
		}
		return ""
	})

	for i, leader := range []*replica{one, two, one} {
		term := start(t.Context(), leader.RunControllers)
		deploy(t, fmt.Sprint("term-", i), one, two)
		if err := term.stop(patience); err != nil {
			t.Errorf("term %d: %v", i, err)
		}
		if _, err := leader.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("the API server of term %d has ended with it: %v", i, err)
		}
	}
}

// identities returns the names of the Leases of API servers.
func identities(ctx context.Context, client kubernetes.Interface) ([]string, error) {
	leases, err := client.CoordinationV1().Leases("kube-system").List(ctx, metav1.ListOptions{
		LabelSelector: "apiserver.kubernetes.io/identity=kube-apiserver",
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, lease := range leases.Items {
		names = append(names, lease.Name)
	}
	slices.Sort(names)
	return names, nil
}

// TestReplicasHaveIdentities runs two replicas and a single control plane in one process.
// Each replica has a Lease of its own for as long as it runs. The single one has none,
// although the feature gates of the process are the same.
func TestReplicasHaveIdentities(t *testing.T) {
	t.Parallel()
	store, bundle := newSharedBackend(t), newBundle(t)
	one := startReplica(t, store, bundle, "10.1.0.1")
	two := startReplica(t, store, bundle, "10.1.0.2")
	single := startPlane(t, Config{})

	await := func(what string, want ...string) {
		slices.Sort(want)
		eventually(t, what, func(ctx context.Context) string {
			got, err := identities(ctx, one.client)
			if err != nil || !slices.Equal(got, want) {
				return fmt.Sprintf("got %v, %v, want %v", got, err, want)
			}
			return ""
		})
	}
	await("Leases of two replicas", serverID("10.1.0.1"), serverID("10.1.0.2"))
	if err := two.running.stop(stopLimit); err != nil {
		t.Fatal(err)
	}
	await("Leases after one has stopped", serverID("10.1.0.1"))

	if got, err := identities(t.Context(), single.client); err != nil || len(got) > 0 {
		t.Errorf("Leases of a single API server: got %v, %v, want none", got, err)
	}
	if _, hooks := single.get(t, "/readyz?verbose"); strings.Contains(hooks, "identity-lease") {
		t.Errorf("a single API server runs the hooks of several: %s", hooks)
	}
}
