package integration

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics/legacyregistry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// allKinds returns the real kinds under the default settings.
func (r *release) allKinds(changes ...func(*kinds.Options)) []syncer.Kind {
	settings := v1alpha1.Default(kinds.Settings()...)
	options := kinds.Options{
		Sync: settings.Sync, WorkloadServiceAccount: "default",
		KubernetesServiceIP: "10.0.0.1", DNSServiceIP: "10.0.0.10",
		ClusterDomain: "cluster.local", KubeletVersion: "v1.37.1",
		Endpoints: policy.NewRanges([]string{"192.0.2.0/24"}),
		Tokens:    minter{kubernetes.NewForConfigOrDie(r.virtual.plane.ClientConfig("minter", pki.GroupAdmins))},

		PodCertificates: controlplane.NewPodCertifier(kubernetes.NewForConfigOrDie(r.virtual.plane.ClientConfig("certifier", pki.GroupAdmins))),
	}
	for _, change := range changes {
		change(&options)
	}
	var all []syncer.Kind
	for _, row := range kinds.Table() {
		all = append(all, row.Define(options)...)
	}
	return append(all, kinds.Replicated(options)...)
}

// minter asks the virtual API server for tokens.
type minter struct{ virtual kubernetes.Interface }

func (m minter) Mint(ctx context.Context, namespace, name string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	return m.virtual.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
}

// moments are when something happened to each pod, by the virtual name.
type moments struct {
	mu sync.Mutex
	at map[string]time.Time
	ch chan struct{} // gets one value per pod
}

func newMoments() *moments {
	return &moments{at: map[string]time.Time{}, ch: make(chan struct{}, 10000)}
}

// recordFirst notes the first time.
func (m *moments) recordFirst(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, done := m.at[name]; !done {
		m.at[name] = time.Now()
		m.ch <- struct{}{}
	}
}

// count returns the number of pods to which it happened.
func (m *moments) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.at)
}

// since returns the times from start to m, in order.
func (m *moments) since(start *moments) []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []time.Duration
	for name, at := range m.at {
		all = append(all, at.Sub(start.at[name]))
	}
	slices.Sort(all)
	return all
}

// farm plays scheduler and kubelets of the host, and watches both sides.
type farm struct {
	created, onHost, hostRunning, virtualRunning, hostGone, virtualGone *moments
}

func newFarm(tb testing.TB, r *release) *farm {
	tb.Helper()
	f := &farm{newMoments(), newMoments(), newMoments(), newMoments(), newMoments(), newMoments()}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
	if err := r.host.client.Create(tb.Context(), node); err != nil {
		tb.Fatal(err)
	}
	host := kubernetes.NewForConfigOrDie(r.host.plane.ClientConfig("kubelet", pki.GroupAdmins))
	virtual := kubernetes.NewForConfigOrDie(r.virtual.plane.ClientConfig("watcher", pki.GroupAdmins))
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	tb.Cleanup(cancel)
	work := make(chan watch.Event, 10000)
	f.watchPods(tb, ctx, host, r.namespace, func(e watch.Event) {
		work <- e
		pod := e.Object.(*corev1.Pod)
		if e.Type == watch.Deleted {
			f.hostGone.recordFirst(pod.Annotations[labels.VirtualName])
		} else {
			f.onHost.recordFirst(pod.Annotations[labels.VirtualName])
		}
	})
	for range 4 {
		go func() {
			for e := range work {
				f.tend(ctx, host, e, r.namespace)
			}
		}()
	}
	f.watchPods(tb, ctx, virtual, r.namespace, func(e watch.Event) {
		pod := e.Object.(*corev1.Pod)
		if e.Type == watch.Deleted {
			f.virtualGone.recordFirst(pod.Name)
		} else if pod.Status.Phase == corev1.PodRunning {
			f.virtualRunning.recordFirst(pod.Name)
		}
	})
	return f
}

// watchPods hands the events of pods to a function.
func (f *farm) watchPods(tb testing.TB, ctx context.Context, c kubernetes.Interface, namespace string, see func(watch.Event)) {
	tb.Helper()
	factory := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().Pods().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { see(watch.Event{Type: watch.Added, Object: o.(*corev1.Pod)}) },
		UpdateFunc: func(_, o any) { see(watch.Event{Type: watch.Modified, Object: o.(*corev1.Pod)}) },
		DeleteFunc: func(o any) {
			if missed, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = missed.Obj // The watch was restarted in between.
			}
			if pod, ok := o.(*corev1.Pod); ok {
				see(watch.Event{Type: watch.Deleted, Object: pod})
			}
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	factory.StartWithContext(ctx)
	factory.WaitForCacheSyncWithContext(ctx)
}

// tend does what a scheduler and a kubelet do with a host pod.
func (f *farm) tend(ctx context.Context, host kubernetes.Interface, e watch.Event, node string) {
	pod := e.Object.(*corev1.Pod)
	pods := host.CoreV1().Pods(pod.Namespace)
	switch {
	case e.Type == watch.Deleted:
	case pod.DeletionTimestamp != nil:
		_ = pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	case pod.Spec.NodeName == "":
		_ = pods.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}, metav1.CreateOptions{})
	case pod.Status.Phase == corev1.PodPending:
		now := metav1.Now()
		pod = pod.DeepCopy()
		pod.Status.Phase, pod.Status.StartTime = corev1.PodRunning, &now
		pod.Status.PodIP, pod.Status.PodIPs = "10.1.2.3", []corev1.PodIP{{IP: "10.1.2.3"}}
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
		f.hostRunning.recordFirst(pod.Annotations[labels.VirtualName])
		_, _ = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	}
}

// run creates a pod of that name, from now on.
func (f *farm) run(tb testing.TB, r *release, name string) {
	tb.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name, Labels: map[string]string{"app": "bench"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.test/app"}}},
	}
	f.created.recordFirst(name)
	if err := r.virtual.client.Create(context.WithoutCancel(tb.Context()), pod); err != nil {
		tb.Error(err)
	}
}

// await waits for a moment of count pods.
func (f *farm) await(tb testing.TB, e *engine, what string, m *moments, count int) {
	tb.Helper()
	timeout := time.After(2 * patience)
	for range count {
		select {
		case <-m.ch:
		case <-timeout:
			tb.Fatalf("%s: %d of %d pods; created %d, on host %d, host Running %d, virtual Running %d\n%s", what, m.count(), count,
				f.created.count(), f.onHost.count(), f.hostRunning.count(), f.virtualRunning.count(), e.status())
		}
	}
}

func TestPodsRunAndEnd(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	f := newFarm(t, r)
	e := r.start(t, r.host.memory(), r.allKinds()...)
	e.synced(t)
	for i := range 20 {
		f.run(t, r, fmt.Sprintf("p-%d", i))
	}
	f.await(t, e, "virtual Running", f.virtualRunning, 20)
	pods := &corev1.PodList{}
	if err := r.virtual.client.List(t.Context(), pods, client.InNamespace(r.namespace)); err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.Spec.NodeName != r.namespace || pod.Status.PodIP == "" {
			t.Errorf("Pod %s must show its node and its address, got %q, %q", pod.Name, pod.Spec.NodeName, pod.Status.PodIP)
		}
		if slices.ContainsFunc(pod.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == "unknown" }) {
			t.Errorf("Pod %s must show who has written it, got %v", pod.Name, pod.ManagedFields)
		}
	}
	// The tenant ends one, the host the other.
	if err := r.virtual.client.Delete(t.Context(), &pods.Items[0]); err != nil {
		t.Fatal(err)
	}
	evicted := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.hostKey(pods.Items[1].Name).Name}}
	if err := r.host.client.Delete(t.Context(), evicted); err != nil {
		t.Fatal(err)
	}
	f.await(t, e, "host gone", f.hostGone, 2)
	f.await(t, e, "virtual gone", f.virtualGone, 2)
	secrets := &corev1.SecretList{}
	eventually(t, "token Secrets", func(ctx context.Context) error {
		if err := r.host.client.List(ctx, secrets, client.InNamespace(r.namespace), client.MatchingLabels{labels.Namespace: r.namespace}); err != nil {
			return err
		}
		if len(secrets.Items) != 18 {
			return fmt.Errorf("18 pods are left, and %d Secrets", len(secrets.Items))
		}
		return nil
	})
}

// BenchmarkPods reports how fast and how dear pods are: one after the other, and in a
// burst. Both API servers and the kubelets take part in the CPU time.
func BenchmarkPods(b *testing.B) {
	r := newRelease(b)
	f := newFarm(b, r)
	e := r.start(b, r.host.memory(), r.allKinds()...)
	e.synced(b)
	const steady, burst = 50, 300
	for i := range steady {
		f.run(b, r, fmt.Sprintf("steady-%d", i))
		time.Sleep(50 * time.Millisecond)
	}
	f.await(b, e, "virtual Running", f.virtualRunning, steady)
	down, up := f.onHost.since(f.created), f.virtualRunning.since(f.hostRunning)
	b.ReportMetric(ms(down[len(down)/2]), "down-p50-ms")
	b.ReportMetric(ms(down[len(down)*99/100]), "down-p99-ms")
	b.ReportMetric(ms(up[len(up)/2]), "up-p50-ms")
	b.ReportMetric(ms(up[len(up)*99/100]), "up-p99-ms")

	begin, cpu, requests := time.Now(), cpuTime(), hostRequests(b)
	var next atomic.Int64
	var clients sync.WaitGroup
	for range 10 {
		clients.Go(func() {
			for i := next.Add(1); i <= burst; i = next.Add(1) {
				f.run(b, r, fmt.Sprintf("burst-%d", i))
			}
		})
	}
	clients.Wait()
	f.await(b, e, "virtual Running", f.virtualRunning, burst)
	b.ReportMetric(time.Since(begin).Seconds(), "burst-s")
	b.ReportMetric(ms(cpuTime()-cpu)/burst, "cpu-ms/pod")
	b.ReportMetric((hostRequests(b)-requests)/burst, "host-requests/pod")

	begin = time.Now()
	if err := r.virtual.client.DeleteAllOf(context.Background(), &corev1.Pod{}, client.InNamespace(r.namespace)); err != nil {
		b.Fatal(err)
	}
	f.await(b, e, "host gone", f.hostGone, steady+burst)
	b.ReportMetric(time.Since(begin).Seconds(), "delete-s")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// hostRequests returns how many requests the syncer has sent to the host.
func hostRequests(b *testing.B) float64 {
	b.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		b.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != "sublet_host_requests_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			sum += metric.GetCounter().GetValue()
		}
	}
	return sum
}

// cpuTime returns the CPU time of the process.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
