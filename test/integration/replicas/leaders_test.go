package replicas

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

// syncLimit is how long a pod may wait for its host copy after the death of the leader.
const syncLimit = 5 * time.Second

// startEtcd starts an etcd that several replicas use, and returns its endpoint.
func startEtcd(t *testing.T) string {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel = t.TempDir(), "error"
	cfg.LogOutputs = []string{"/dev/null"}
	client, peer := url.URL{Scheme: "http", Host: freeAddress(t)}, url.URL{Scheme: "http", Host: freeAddress(t)}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(patience):
		t.Fatal("etcd does not start")
	}
	return client.String()
}

// freeAddress returns a free address of this machine.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// sharedStore returns the values of replicas on one etcd.
func sharedStore(endpoint string, replicas int) map[string]any {
	return map[string]any{"controlPlane": map[string]any{
		"backingStore": map[string]any{"etcd": map[string]any{"external": map[string]any{"enabled": true, "endpoint": endpoint}}},
		"statefulSet":  map[string]any{"highAvailability": map[string]any{"replicas": replicas}},
	}}
}

// leader returns the replica that leads by the lease, nil if there is none that runs.
func (w *world) leader(ctx context.Context) *tenant.Replica {
	client := w.pick()
	if client == nil {
		return nil
	}
	lease, err := client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, "sublet-leader", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return nil
	}
	for _, replica := range w.fleet.Replicas() {
		if *lease.Spec.HolderIdentity == replica.Pod+"_"+string(replica.UID) {
			return replica
		}
	}
	return nil
}

// awaitLeader waits for a leader other than the given pod.
func (w *world) awaitLeader(t *testing.T, other string) *tenant.Replica {
	t.Helper()
	var leader *tenant.Replica
	eventually(t, "a replica leads", func(ctx context.Context) error {
		if leader = w.leader(ctx); leader == nil || leader.Pod == other {
			return errors.New("nobody does")
		}
		return nil
	})
	return leader
}

// follower returns the client of a ready replica other than the given pod.
func (w *world) follower(t *testing.T, leader string) kubernetes.Interface {
	t.Helper()
	for _, replica := range w.fleet.Ready() {
		if replica.Pod != leader {
			return replica.Client()
		}
	}
	t.Fatalf("no replica other than %s is ready", leader)
	return nil
}

// syncPod creates a pod on a replica and waits until the host has its copy. It returns how
// long that took.
func (w *world) syncPod(t *testing.T, client kubernetes.Interface, l *podLog, name string) time.Duration {
	t.Helper()
	begin := time.Now()
	pod, err := client.CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/main"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "pod "+name+" is synced", func(context.Context) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if copies := l.copies[pod.UID]; len(copies) != 1 {
			return fmt.Errorf("%d copies", len(copies))
		}
		return nil
	})
	return time.Since(begin)
}

// TestLeaderDies kills the leader of three replicas on one etcd, stops the next one, and
// suspends the third. Each time another one syncs, and no two write at once.
func TestLeaderDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{values: sharedStore(startEtcd(t), 3), replicas: 3})
	terms := w.watchTerms(t)
	pods := w.watchPods(t)
	first := w.awaitLeader(t, "")
	t.Logf("a pod of a follower was synced in %s", w.syncPod(t, w.follower(t, first.Pod), pods, "one"))
	w.checkHostFirst(t, w.follower(t, first.Pod), "before")

	survivor := w.follower(t, first.Pod)
	w.fleet.Kill(first.Pod)
	w.checkHostFirst(t, survivor, "between")
	took := w.syncPod(t, survivor, pods, "two")
	t.Logf("a pod was synced %s after its leader's death", took)
	if took > syncLimit {
		t.Errorf("a pod was synced %s after its leader's death, want %s", took, syncLimit)
	}
	w.fleet.Restart(first.Pod)
	w.awaitReady(t, 3)

	second := w.awaitLeader(t, "")
	third := w.follower(t, second.Pod)
	if err := second.Pause(); err != nil {
		t.Fatal(err)
	}
	t.Logf("a pod was synced %s after its leader was suspended", w.syncPod(t, third, pods, "three"))
	if err := second.Resume(); err != nil {
		t.Fatal(err)
	}
	w.syncPod(t, third, pods, "four")
	w.awaitReady(t, 3)
	w.checkTerms(t, terms)
	if all := terms.all(); len(all) < 3 {
		t.Errorf("only the terms %v", all)
	}
}

// checkHostFirst creates a Service on a replica: it has the host's address at once.
func (w *world) checkHostFirst(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	service, err := client.CoreV1().Services(metav1.NamespaceDefault).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, Selector: map[string]string{"app": name}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Errorf("a Service cannot be created: %v", err)
		return
	}
	host := kubernetes.NewForConfigOrDie(w.host.Config())
	services, err := host.CoreV1().Services(w.release.Namespace()).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(services.Items, func(s corev1.Service) bool { return s.Spec.ClusterIP == service.Spec.ClusterIP }) {
		t.Errorf("Service %s has address %s, which no Service of the host has", name, service.Spec.ClusterIP)
	}
}

// TestReadYourWrites writes on one replica and reads on another.
func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{values: sharedStore(startEtcd(t), 2), replicas: 2})
	replicas := w.fleet.Ready()
	for i := range 50 {
		from, to := replicas[i%2].Client().CoreV1().ConfigMaps("default"), replicas[(i+1)%2].Client().CoreV1().ConfigMaps("default")
		name := fmt.Sprint("map-", i)
		if _, err := from.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Errorf("get after create on another replica: %v", err)
		}
		if maps, err := to.List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name}); err != nil || len(maps.Items) != 1 {
			t.Errorf("list after create on another replica: %v", err)
		}
		if err := to.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := from.Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("get after delete on another replica: %v", err)
		}
	}
}
