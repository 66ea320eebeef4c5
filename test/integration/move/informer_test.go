package move

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/snapshot"
	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/test/await"
	"github.com/sublet-dev/sublet/test/ports"
)

const (
	// patience is how long a test waits for what takes seconds.
	patience = 4 * time.Minute
	// objects is the number of objects that move.
	objects = 10_000
	anchor  = "anchor-1"
)

func TestMain(m *testing.M) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// server is an API server that stops and starts at one address.
type server struct {
	bundle  *pki.Bundle
	address string
	stop    func()
}

// start serves a store, which moves first if it has a mover.
func (s *server) start(t *testing.T, backend storage.Backend) {
	t.Helper()
	var listener net.Listener
	// A server that did not stop in time closes its port later.
	await.Until(t, s.address+" is free", func(ctx context.Context) (err error) {
		listener, err = new(net.ListenConfig).Listen(context.WithoutCancel(ctx), "tcp", s.address)
		return err
	})
	s.address = listener.Addr().String()
	plane, err := controlplane.New(controlplane.Config{Storage: backend, PKI: s.bundle, Listener: listener})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- plane.RunWithControllers(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the API server ended: %v", err)
		}
	})
	t.Cleanup(s.stop)
	select {
	case <-plane.Ready():
	case <-time.After(patience):
		t.Fatal("the API server is not ready")
	}
}

func (s *server) client(t *testing.T) (*rest.Config, kubernetes.Interface) {
	t.Helper()
	kubeconfig, err := s.bundle.Kubeconfig("https://"+s.address, "test", "admin", pki.GroupAdmins)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return config, client
}

// observer follows one kind of object as controllers do. It keeps what the events say, and
// fails if a resource version goes back.
type observer struct {
	t        *testing.T
	mu       sync.Mutex
	versions map[string]uint64 // name -> newest resource version
	values   map[string]string // name -> value by the events
}

func (o *observer) set(object any) {
	configMap, ok := object.(*corev1.ConfigMap)
	if !ok {
		o.t.Errorf("event with %T", object)
		return
	}
	version, err := strconv.ParseUint(configMap.ResourceVersion, 10, 64)
	if err != nil {
		o.t.Error(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if before := o.versions[configMap.Name]; version < before {
		o.t.Errorf("resource version of %s went back from %d to %d", configMap.Name, before, version)
	}
	o.versions[configMap.Name], o.values[configMap.Name] = version, configMap.Data["value"]
}

func (o *observer) recordDelete(object any) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if configMap, ok := object.(*corev1.ConfigMap); ok {
		delete(o.values, configMap.Name)
	}
}

// await waits until the events have led to the wanted values.
func (o *observer) await(want map[string]string) {
	o.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		o.mu.Lock()
		isEqual, seen := maps.Equal(o.values, want), maps.Clone(o.values)
		o.mu.Unlock()
		if isEqual {
			return
		}
		select {
		case <-deadline.C:
			o.t.Fatalf("events (-want +got):\n%s", cmp.Diff(want, seen))
		case <-ticker.C:
		}
	}
}

// observe starts an informer of the ConfigMaps in one namespace.
func observe(t *testing.T, client kubernetes.Interface) *observer {
	t.Helper()
	o := &observer{t: t, versions: map[string]uint64{}, values: map[string]string{}}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace("kube-public"))
	_, err := factory.Core().V1().ConfigMaps().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: o.set, UpdateFunc: func(_, object any) { o.set(object) }, DeleteFunc: o.recordDelete,
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	factory.Start(stop)
	factory.WaitForCacheSync(stop)
	t.Cleanup(func() {
		close(stop)
		factory.Shutdown()
	})
	return o
}

// places returns the two stores of the test.
func places(t *testing.T) (etcd, sqlite snapshot.Store) {
	t.Helper()
	etcdDir, sqliteDir := t.TempDir(), t.TempDir()
	return snapshot.Store{Location: "etcd.embedded", OnVolume: true, Open: func() (storage.Backend, error) {
			store := storage.Embedded(etcdDir)
			store.NoSync = true
			return store, nil
		}}, snapshot.Store{Location: "database.embedded", OnVolume: true, Open: func() (storage.Backend, error) {
			return storage.SQLite(sqliteDir), nil
		}}
}

// TestInformerThroughMoves moves 10,000 objects from etcd to SQLite and back, while an
// informer follows them. No resource version goes back and no event is missed.
func TestInformerThroughMoves(t *testing.T) {
	t.Parallel()
	bundle, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	etcd, sqlite := places(t)
	s := &server{bundle: bundle, address: ports.Free(t, "127.0.0.1")}
	first, err := etcd.Open()
	if err != nil {
		t.Fatal(err)
	}
	s.start(t, snapshot.NewServed(first, etcd.Location))
	_, client := s.client(t)
	want := fill(t, client)
	o := observe(t, client)
	o.await(want)
	for _, pair := range [][2]snapshot.Store{{etcd, sqlite}, {sqlite, etcd}} {
		from, to := pair[0], pair[1]
		write(t, client, want, "before-"+to.Location)
		begin := time.Now()
		s.stop()
		backend, err := to.Open()
		if err != nil {
			t.Fatal(err)
		}
		served := snapshot.NewServed(backend, to.Location)
		served.Mover = &snapshot.Mover{
			Source: from, Target: to, Cluster: anchor, Identity: `{"anchor":"` + anchor + `"}`, By: "shop-0", Clock: clock.RealClock{},
		}
		s.start(t, served)
		// The goal is 10 s on a machine that does nothing else.
		t.Logf("from %s to %s: the API was away for %v", from.Location, to.Location, time.Since(begin).Round(time.Millisecond))
		o.await(want)
		write(t, client, want, "after-"+to.Location)
		o.await(want)
	}
}

// fill creates the objects, and returns those that the observer sees.
func fill(t *testing.T, client kubernetes.Interface) map[string]string {
	t.Helper()
	want := map[string]string{}
	var writing sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i := range objects {
		name, namespace := fmt.Sprintf("object-%05d", i), "default"
		if i < 500 {
			namespace = "kube-public"
			want[name] = "1"
		}
		writing.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"value": "1"}}
			if _, err := client.CoreV1().ConfigMaps(namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
				t.Errorf("cannot create %s: %v", name, err)
			}
		})
	}
	writing.Wait()
	await.Until(t, "the controller has published the CA", func(ctx context.Context) error {
		_, err := client.CoreV1().ConfigMaps("kube-public").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
	existing, err := client.CoreV1().ConfigMaps("kube-public").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range existing.Items {
		want[existing.Items[i].Name] = existing.Items[i].Data["value"]
	}
	return want
}

// write creates objects, changes one and deletes one.
func write(t *testing.T, client kubernetes.Interface, want map[string]string, value string) {
	t.Helper()
	objects := client.CoreV1().ConfigMaps("kube-public")
	changed, deleted := "object-00001", "object-00002"
	current, err := objects.Get(t.Context(), changed, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	current.Data["value"] = value
	if _, err := objects.Update(t.Context(), current, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	want[changed] = value
	if _, ok := want[deleted]; ok {
		if err := objects.Delete(t.Context(), deleted, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		delete(want, deleted)
	}
	created := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: value}, Data: map[string]string{"value": value}}
	if _, err := objects.Create(t.Context(), created, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	want[value] = value
}
