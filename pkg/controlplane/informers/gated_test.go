package informers

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

// recorder records events as verb and name.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) record(verb string, object any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, verb+" "+object.(metav1.Object).GetName())
}

// take returns the events since the last call.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

// handler returns a handler that records.
func (r *recorder) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { r.record("add", object) },
		UpdateFunc: func(_, object any) { r.record("update", object) },
		DeleteFunc: func(object any) { r.record("delete", object) },
	}
}

// world is a process with shared informers that run already.
type world struct {
	client   *fake.Clientset
	shared   clientinformers.SharedInformerFactory
	lifetime chan struct{}
}

// newWorld returns a world with one ConfigMap.
func newWorld(t *testing.T) *world {
	t.Helper()
	client := fake.NewClientset(configMap("first"))
	w := &world{client: client, shared: clientinformers.NewSharedInformerFactory(client, 0), lifetime: make(chan struct{})}
	w.shared.Core().V1().ConfigMaps().Informer()
	w.shared.Start(w.lifetime)
	w.shared.WaitForCacheSync(w.lifetime)
	return w
}

// end ends the process.
func (w *world) end() {
	close(w.lifetime)
	w.shared.Shutdown()
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

// create creates a ConfigMap, and waits until nothing moves any more.
func (w *world) create(t *testing.T, name string) {
	t.Helper()
	if _, err := w.client.CoreV1().ConfigMaps("default").Create(t.Context(), configMap(name), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// expect compares the events of a handler.
func expect(t *testing.T, reason string, r *recorder, want ...string) {
	t.Helper()
	if got := r.take(); !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", reason, got, want)
	}
}

// register registers a handler for ConfigMaps in one of the three ways.
func register(t *testing.T, way int, informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	t.Helper()
	var err error
	switch way {
	case 0:
		_, err = informer.AddEventHandler(handler)
	case 1:
		_, err = informer.AddEventHandlerWithResyncPeriod(handler, time.Hour)
	default:
		_, err = informer.AddEventHandlerWithOptions(handler, cache.HandlerOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestTerm runs a term: events wait for the gate, then come in order, and end with the
// term. Handlers of others are not touched.
func TestTerm(t *testing.T) {
	t.Parallel()
	for way := range 3 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.end()
			others, ours := &recorder{}, &recorder{}
			register(t, way, w.shared.Core().V1().ConfigMaps().Informer(), others.handler())
			gated := NewGated(w.shared, w.lifetime)
			register(t, way, gated.Core().V1().ConfigMaps().Informer(), ours.handler())

			w.create(t, "second")
			expect(t, "nobody else waits for the gate", others, "add first", "add second")
			expect(t, "before the gate opens, a controller may have no lister yet", ours)

			gated.Open()
			synctest.Wait()
			expect(t, "what has waited comes in order", ours, "add first", "add second")
			maps := w.client.CoreV1().ConfigMaps("default")
			if _, err := maps.Update(t.Context(), configMap("second"), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := maps.Delete(t.Context(), "second", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			expect(t, "an open gate passes everything", ours, "update second", "delete second")

			gated.Close()
			others.take()
			w.create(t, "third")
			expect(t, "a term that has ended gets nothing", ours)
			expect(t, "the informers live on", others, "add third")
		})
	}
}

// TestTermThatNeverOpens ends a term before its controllers were built.
func TestTermThatNeverOpens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		ours := &recorder{}
		gated := NewGated(w.shared, w.lifetime)
		register(t, 0, gated.Core().V1().ConfigMaps().Informer(), ours.handler())
		w.create(t, "second")
		gated.Close()
		synctest.Wait()
		expect(t, "what has waited is dropped", ours)
	})
}

// TestNextTerm runs two terms on the same informers, of which the first needs a type that
// nobody has needed before.
func TestNextTerm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		for range 2 {
			ours := &recorder{}
			gated := NewGated(w.shared, w.lifetime)
			secrets := gated.Core().V1().Secrets().Informer()
			register(t, 0, secrets, ours.handler())
			if err := secrets.AddIndexers(cache.Indexers{"mine": func(any) ([]string, error) { return []string{"all"}, nil }}); err != nil {
				t.Errorf("the index of an earlier term: %v", err)
			}
			term := make(chan struct{})
			gated.Start(term)
			gated.Open()
			gated.WaitForCacheSync(w.lifetime)
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "s-", Name: "s"}}
			if _, err := w.client.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			expect(t, "a type that only the term needs", ours, "add s")
			if found, err := secrets.GetIndexer().ByIndex("mine", "all"); err != nil || len(found) != 1 {
				t.Errorf("the index has %d objects, %v, want 1", len(found), err)
			}

			close(term)
			gated.Close()
			gated.Shutdown()
			synctest.Wait()
			if secrets.IsStopped() {
				t.Fatal("the informer ends with the term, which others may use by now")
			}
			if err := w.client.CoreV1().Secrets("default").Delete(t.Context(), "s", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			expect(t, "a term that has ended gets nothing", ours)
		}
	})
}

// TestIndexers adds the indexers of a term to those that an informer has.
func TestIndexers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		gated := NewGated(w.shared, w.lifetime)
		informer := gated.Core().V1().ConfigMaps().Informer()
		all := func(any) ([]string, error) { return []string{"all"}, nil }
		added := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc, "mine": all}
		if err := informer.AddIndexers(added); err != nil {
			t.Fatal(err)
		}
		if len(added) != 2 {
			t.Error("the caller's map has changed")
		}
		if found, err := informer.GetIndexer().ByIndex("mine", "all"); err != nil || len(found) != 1 {
			t.Errorf("the index of an informer that runs: got %d objects, %v, want 1", len(found), err)
		}
	})
}

// TestStoppedInformer registers a handler after the end of the process.
func TestStoppedInformer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.end()
		gated := NewGated(w.shared, w.lifetime)
		if _, err := gated.Core().V1().ConfigMaps().Informer().AddEventHandler((&recorder{}).handler()); err == nil {
			t.Error("a stopped informer takes a handler")
		}
		gated.Close()
	})
}

// TestForResource finds an informer by its resource.
func TestForResource(t *testing.T) {
	t.Parallel()
	gated := NewGated(clientinformers.NewSharedInformerFactory(fake.NewClientset(), 0), nil)
	informer, err := gated.ForResource(corev1.SchemeGroupVersion.WithResource("configmaps"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := informer.Informer().(*gatedInformer); !ok {
		t.Errorf("got %T, which passes events before the gate opens", informer.Informer())
	}
	if _, err := gated.ForResource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"}); err == nil {
		t.Error("a resource that does not exist has an informer")
	}
}

// TestEveryGroupIsGated walks through all informers of the factory. A group that this
// package forgets comes from the embedded factory, and has no gate.
func TestEveryGroupIsGated(t *testing.T) {
	t.Parallel()
	gated := NewGated(clientinformers.NewSharedInformerFactory(fake.NewClientset(), 0), nil)
	count := 0
	var walk func(path string, value reflect.Value)
	walk = func(path string, value reflect.Value) {
		if informer := value.MethodByName("Informer"); informer.IsValid() {
			count++
			if _, err := informer.Call(nil)[0].Interface().(cache.SharedIndexInformer).AddEventHandler((&recorder{}).handler()); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if len(gated.removes) != count {
				t.Errorf("%s: its handlers have no gate", path)
				gated.removes = append(gated.removes, func() {})
			}
			return
		}
		for i := range value.NumMethod() {
			method, name := value.Method(i), value.Type().Method(i).Name
			isGroup := method.Type().NumIn() == 0 && method.Type().NumOut() == 1 && method.Type().Out(0).Kind() == reflect.Interface
			if isGroup && strings.Contains(method.Type().Out(0).PkgPath(), "k8s.io/client-go/informers/") {
				walk(path+"."+name, method.Call(nil)[0])
			}
		}
	}
	walk("", reflect.ValueOf(gated))
	if count < 50 {
		t.Errorf("the walk has found %d informers only", count)
	}
}
