package replicas

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
	"github.com/sublet-dev/sublet/test/etcd"
)

// syncLimit is how long a pod may wait for its host copy after the death of the leader, on a
// busy machine. It takes 4 s on one that does nothing else.
const syncLimit = patience

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
	// One that is suspended never answers.
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
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

// follower waits for a ready replica other than the given pod and returns its client.
func (w *world) follower(t *testing.T, leader string) kubernetes.Interface {
	t.Helper()
	var client kubernetes.Interface
	eventually(t, "a replica other than "+leader+" is ready", func(context.Context) error {
		for _, replica := range w.fleet.Ready() {
			if replica.Pod != leader {
				client = replica.Client()
				return nil
			}
		}
		return errNobody
	})
	return client
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
	w := newWorld(t, setup{values: sharedStore(etcd.Start(t, etcd.Options{}).Endpoint(), 3), replicas: 3})
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
	w := newWorld(t, setup{values: sharedStore(etcd.Start(t, etcd.Options{}).Endpoint(), 2), replicas: 2})
	replicas := w.fleet.Replicas()
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
