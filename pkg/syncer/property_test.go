package syncer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// world is two clusters in which tenants, kubelets and strangers do what they
// like while reconcilers with late caches, that die at any time, follow.
type world struct {
	t       *rapid.T
	clock   *clocktesting.FakeClock
	virtual *fakeServer
	host    *fakeServer
	benches []*bench
	// foreign are the objects of strangers, as they left them.
	foreign map[fakeKey]client.Object
	// crashAfter is how many writes the engine gets through yet, -1 for all.
	crashAfter int
	stranger   bool // the request is not the engine's
}

var errCrash = errors.New("the process has died")

func newWorld(t *rapid.T) *world {
	w := &world{t: t, clock: clocktesting.NewFakeClock(testStart()), foreign: map[fakeKey]client.Object{}, crashAfter: -1}
	w.virtual, w.host = newFakeServer("virtual", w.clock), newFakeServer("host", w.clock)
	w.virtual.before, w.host.before, w.host.changed = w.allow, w.allow, w.spare
	for _, kind := range []Kind{configMaps(), pods(), tokens(), secrets(), nodes()} {
		w.benches = append(w.benches, newBench(kind, w.clock, w.virtual, w.host))
	}
	return w
}

// allow lets the engine die before a write.
func (w *world) allow(string, client.Object) error {
	if w.stranger {
		return nil
	}
	if w.crashAfter == 0 {
		return errCrash
	}
	w.crashAfter--
	return nil
}

// spare holds that the engine never changes what is a stranger's. It may well ask
// for it, with the UID of its own object that the stranger's took the place of.
func (w *world) spare(o client.Object) {
	if _, theirs := w.foreign[keyOf(o)]; theirs && !w.stranger {
		w.t.Fatalf("the engine changes a stranger's %T %s", o, client.ObjectKeyFromObject(o))
	}
}

// asStranger does something that is not the engine's doing.
func (w *world) asStranger(act func()) {
	w.stranger = true
	act()
	w.stranger = false
}

func (w *world) key() types.NamespacedName {
	return types.NamespacedName{Namespace: "web", Name: rapid.SampledFrom([]string{"a", "b"}).Draw(w.t, "name")}
}

// like returns an empty object of one of the types of the virtual side.
func (w *world) like() client.Object {
	return rapid.SampledFrom([]client.Object{&corev1.ConfigMap{}, &corev1.Pod{}, &corev1.Secret{}}).Draw(w.t, "type")
}

// create creates an object of a tenant.
func (w *world) create(*rapid.T) {
	o := newEmpty(w.like())
	key := w.key()
	o.SetNamespace(key.Namespace)
	o.SetName(key.Name)
	if pod, ok := o.(*corev1.Pod); ok {
		pod.Spec.Containers = []corev1.Container{{Name: "c"}}
	}
	w.asStranger(func() { _ = w.virtual.Create(context.Background(), o) })
}

// deleteAsTenant deletes an object of a tenant, with or without a grace period.
func (w *world) deleteAsTenant(*rapid.T) {
	like, key := w.like(), w.key()
	options := &client.DeleteOptions{}
	if rapid.Bool().Draw(w.t, "force") {
		options.GracePeriodSeconds = new(int64)
	}
	if o := w.virtual.get(like, key); o != nil {
		w.asStranger(func() { _ = w.virtual.Delete(context.Background(), o, options) })
	}
}

// change changes an object of a tenant.
func (w *world) change(*rapid.T) {
	like, key := w.like(), w.key()
	o := w.virtual.get(like, key)
	if o == nil {
		return
	}
	value := fmt.Sprint(rapid.IntRange(0, 3).Draw(w.t, "value"))
	switch o := o.(type) {
	case *corev1.ConfigMap:
		o.Data = map[string]string{"k": value}
		if value == "3" {
			o.Labels = map[string]string{"private": "yes"}
		}
	case *corev1.Secret:
		o.Data = map[string][]byte{"k": []byte(value)}
	case *corev1.Pod:
		o.Labels = map[string]string{"app": value}
	}
	w.asStranger(func() { _ = w.virtual.Update(context.Background(), o) })
}

// tamper changes or deletes a copy on the host.
func (w *world) tamper(*rapid.T) {
	found := w.host.list(w.like(), oursSelector(testCluster()))
	if len(found) == 0 {
		return
	}
	o := found[rapid.IntRange(0, len(found)-1).Draw(w.t, "which")]
	if _, theirs := w.foreign[keyOf(o)]; theirs {
		return
	}
	w.asStranger(func() {
		if m, ok := o.(*corev1.ConfigMap); ok && rapid.Bool().Draw(w.t, "change") {
			m.Data = map[string]string{"k": "tampered"}
			_ = w.host.Update(context.Background(), m)
			return
		}
		_ = w.host.Delete(context.Background(), o)
	})
}

// takeName creates a stranger's object under a name of ours, with or without our label.
func (w *world) takeName(*rapid.T) {
	o := newEmpty(w.like())
	name := translate.Hashed(testCluster(), w.key())
	o.SetNamespace(name.Namespace)
	o.SetName(name.Name)
	if rapid.Bool().Draw(w.t, "labelled") {
		o.SetLabels(map[string]string{labels.Cluster: testCluster().UID})
	}
	w.asStranger(func() {
		if w.host.Create(context.Background(), o) == nil {
			w.foreign[keyOf(o)] = o
		}
	})
}

// releaseNames deletes the objects of strangers.
func (w *world) releaseNames(*rapid.T) {
	for key, o := range w.foreign {
		w.host.removeNow(o)
		delete(w.foreign, key)
	}
}

// changeHostNode draws a change of a node of the host.
func (w *world) changeHostNode(*rapid.T) {
	name := rapid.SampledFrom([]string{"n1", "n2"}).Draw(w.t, "node")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	found := w.host.get(node, client.ObjectKeyFromObject(node))
	w.asStranger(func() {
		switch {
		case found == nil:
			_ = w.host.Create(context.Background(), node)
		case rapid.Bool().Draw(w.t, "delete"):
			_ = w.host.Delete(context.Background(), found)
		default:
			found.SetLabels(map[string]string{"zone": fmt.Sprint(rapid.IntRange(0, 2).Draw(w.t, "zone"))})
			_ = w.host.Update(context.Background(), found)
		}
	})
}

// kubelet binds host pods, runs them and ends those that are to end.
func (w *world) kubelet(*rapid.T) {
	for _, o := range w.host.list(&corev1.Pod{}, labelsEverything()) {
		if _, theirs := w.foreign[keyOf(o)]; theirs {
			continue
		}
		pod := o.(*corev1.Pod)
		switch {
		case isTerminating(pod):
			w.host.removeNow(pod)
		case pod.Spec.NodeName == "":
			pod.Spec.NodeName = "n1"
			pod.UID = o.GetUID()
			w.host.add(pod)
		case pod.Status.Phase == "":
			pod.Status.Phase = corev1.PodRunning
			w.host.add(pod)
		}
	}
}

// refreshSome lets caches catch up, each for itself.
func (w *world) refreshSome(*rapid.T) {
	for _, b := range w.benches {
		if rapid.Bool().Draw(w.t, "virtual") {
			b.virtualView.refresh()
		}
		if rapid.Bool().Draw(w.t, "host") {
			b.hostView.refresh()
		}
	}
}

// reconcileOne reconciles something, and may die on the way.
func (w *world) reconcileOne(*rapid.T) {
	i := rapid.IntRange(0, len(w.benches)-1).Draw(w.t, "kind")
	key := w.key()
	if w.benches[i].kind.owner == Host {
		key = types.NamespacedName{Name: rapid.SampledFrom([]string{"n1", "n2"}).Draw(w.t, "node")}
	}
	w.crashAfter = rapid.IntRange(-1, 2).Draw(w.t, "writes before death")
	_, err := w.benches[i].reconcile(context.Background(), key)
	w.crashAfter = -1
	if errors.Is(err, errCrash) {
		w.benches[i] = newBench(w.benches[i].kind, w.clock, w.virtual, w.host)
	}
}

// passTime lets time go by.
func (w *world) passTime(*rapid.T) { w.clock.Step(time.Second) }

// awaitRest lets everything come to rest: caches are fresh, nobody else acts but the
// kubelet.
func (w *world) awaitRest() {
	keys := []types.NamespacedName{{Namespace: "web", Name: "a"}, {Namespace: "web", Name: "b"}, {Name: "n1"}, {Name: "n2"}}
	quiet := 0
	for range 60 {
		w.asStranger(func() { w.kubelet(nil) })
		before := w.virtual.version + w.host.version
		for _, b := range w.benches {
			for _, key := range keys {
				b.refresh()
				if _, err := b.reconcile(context.Background(), key); err != nil && !apierrors.IsConflict(err) {
					if _, conflict := errors.AsType[*conflictError](err); !conflict {
						w.t.Fatalf("%s %s: %v", b.kind.name, key, err)
					}
				}
			}
		}
		w.clock.Step(expectationLife + time.Second)
		if before != w.virtual.version+w.host.version {
			quiet = 0
		} else if quiet++; quiet > 2 {
			return
		}
	}
	w.t.Fatal("the clusters never come to rest")
}

// check fails unless both clusters agree.
func (w *world) check() {
	for _, b := range w.benches {
		for _, o := range w.virtual.list(b.kind.newVirtual(), labelsEverything()) {
			w.checkVirtual(b, o)
		}
		for _, o := range w.host.list(b.kind.newHost(), b.hostView.selector) {
			w.checkHost(b, o)
		}
	}
	for key, o := range w.foreign {
		if now, ok := w.host.objects[key]; !ok || now.GetResourceVersion() != o.GetResourceVersion() {
			w.t.Fatalf("a stranger's object %v was touched", key)
		}
	}
}

// checkVirtual fails unless a virtual object has the copy that it should have.
func (w *world) checkVirtual(b *bench, o client.Object) {
	key := client.ObjectKeyFromObject(o)
	host := w.host.get(b.kind.newHost(), b.kind.names(testCluster(), key))
	if b.kind.owner == Host {
		if host == nil {
			w.t.Fatalf("%s %s is shown without a host object", b.kind.name, key)
		}
		return
	}
	if host != nil {
		if _, theirs := w.foreign[keyOf(host)]; theirs {
			return
		}
	}
	wanted, _ := b.kind.want(b.scope(context.Background()), o, nil)
	if wanted != (host != nil) {
		w.t.Fatalf("%s %s: copy wanted %t, is there %t", b.kind.name, key, wanted, host != nil)
	}
	if host != nil && virtualUID(host) != o.GetUID() {
		w.t.Fatalf("%s %s has the copy of another", b.kind.name, key)
	}
	if m, ok := o.(*corev1.ConfigMap); ok && wanted && m.Data["k"] != host.(*corev1.ConfigMap).Data["k"] {
		w.t.Fatalf("%s %s differs from its copy", b.kind.name, key)
	}
	if pod, ok := o.(*corev1.Pod); ok && b.kind.name == "pods" && pod.Status.Phase != corev1.PodRunning {
		w.t.Fatalf("pod %s runs and its tenant does not see it", key)
	}
}

// checkHost fails unless a host object has the virtual object that it was created for.
func (w *world) checkHost(b *bench, o client.Object) {
	key, ours := b.kind.origin(b.scope(context.Background()), o)
	if _, theirs := w.foreign[keyOf(o)]; theirs || !ours {
		return
	}
	if w.virtual.get(b.kind.newVirtual(), key) == nil {
		w.t.Fatalf("host object %s of %s is left over", client.ObjectKeyFromObject(o), b.kind.name)
	}
}

func TestBothSidesAgreeInTheEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		actions := map[string]func(*rapid.T){
			"create": w.create, "remove": w.deleteAsTenant, "change": w.change,
			"tamper": w.tamper, "squat": w.takeName, "leave": w.releaseNames,
			"nodes": w.changeHostNode, "kubelet": w.kubelet,
			"see": w.refreshSome, "step": w.reconcileOne, "step again": w.reconcileOne, "pass": w.passTime,
		}
		t.Repeat(actions)
		w.awaitRest()
		w.check()
	})
}
