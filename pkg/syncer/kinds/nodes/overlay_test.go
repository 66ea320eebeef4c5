package nodes

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// twoWriters is a node that a host and a tenant write in turn. Its other fields are a
// model of what the tenant has written: the virtual node is the host's over the tenant's.
type twoWriters struct {
	host, virtual *corev1.Node

	labels, annotations map[string]string
	taints              map[string]corev1.Taint
	cordoned            bool
	resources           corev1.ResourceList
}

func newTwoWriters() *twoWriters {
	named := func() *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "u"}} }
	w := &twoWriters{
		host: named(), virtual: named(),
		labels: map[string]string{}, annotations: map[string]string{}, taints: map[string]corev1.Taint{}, resources: corev1.ResourceList{},
	}
	w.virtual.Annotations = map[string]string{labels.HostUID: "u"}
	return w
}

// pick returns one of a few, so that the two writers meet often.
func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func anyTaint(r *rand.Rand) corev1.Taint {
	return corev1.Taint{
		Key: pick(r, "a", "b", "example.com/c"), Value: pick(r, "", "x", "y"),
		Effect: pick(r, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, corev1.TaintEffectPreferNoSchedule),
	}
}

func anyMap(r *rand.Rand) map[string]string {
	values := map[string]string{}
	for range r.IntN(4) {
		values[pick(r, "a", "b", "c", "d")] = pick(r, "host-1", "host-2", "tenant-1")
	}
	return values
}

// hostWrites changes the host's node in one of all the ways there are.
func (w *twoWriters) hostWrites(r *rand.Rand) {
	switch r.IntN(8) {
	case 0:
		w.host.Labels = anyMap(r)
	case 1:
		w.host.Annotations = anyMap(r)
	case 2:
		w.host.Spec.Taints = nil
		for range r.IntN(4) {
			if taint := anyTaint(r); !hasTaint(w.host.Spec.Taints, taint) {
				w.host.Spec.Taints = append(w.host.Spec.Taints, taint)
			}
		}
	case 3:
		w.host.Spec.Unschedulable = !w.host.Spec.Unschedulable
	case 4:
		w.host.Status.Capacity = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")}
		if r.IntN(2) == 0 {
			w.host.Status.Capacity["example.com/gpu"] = *resource.NewQuantity(int64(r.IntN(3)), resource.DecimalSI)
		}
		w.host.Status.Allocatable = w.host.Status.Capacity.DeepCopy()
	case 5:
		w.host.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: pick(r, corev1.ConditionTrue, corev1.ConditionFalse), Reason: pick(r, "", "KubeletReady"),
		}}
	case 6:
		w.host.Spec.ProviderID = pick(r, "example://1", "example://2")
	case 7: // A heartbeat, or nothing at all.
	}
}

// tenantWrites changes the virtual node through the admission, and the model if it
// lets it pass.
func (w *twoWriters) tenantWrites(t *testing.T, r *rand.Rand) (kept bool) {
	after, status := w.virtual.DeepCopy(), ""
	key, value := pick(r, "a", "b", "c", "d"), pick(r, "tenant-1", "tenant-2")
	taint, remove := anyTaint(r), r.IntN(3) == 0
	amount := *resource.NewQuantity(int64(r.IntN(5)), resource.DecimalSI)
	var model func()
	switch r.IntN(5) {
	case 0:
		after.Labels = edited(after.Labels, key, value, remove)
		model = func() { w.labels = edited(w.labels, key, value, remove) }
	case 1:
		after.Annotations = edited(after.Annotations, key, value, remove)
		model = func() { w.annotations = edited(w.annotations, key, value, remove) }
	case 2:
		after.Spec.Taints = slices.DeleteFunc(after.Spec.Taints, func(o corev1.Taint) bool { return taintKey(o) == taintKey(taint) })
		if !remove {
			after.Spec.Taints = append(after.Spec.Taints, taint)
		}
		model = func() {
			delete(w.taints, taintKey(taint))
			if !remove {
				w.taints[taintKey(taint)] = taint
			}
		}
	case 3:
		after.Spec.Unschedulable = !after.Spec.Unschedulable
		model = func() { w.cordoned = after.Spec.Unschedulable }
	case 4:
		status = "status"
		after.Status.Capacity = cloneOrNew(after.Status.Capacity)
		after.Status.Capacity["example.com/gpu"] = amount
		if remove {
			delete(after.Status.Capacity, "example.com/gpu")
		}
		model = func() {
			w.resources["example.com/gpu"] = amount
			if remove {
				delete(w.resources, "example.com/gpu")
			}
		}
	}
	if newEdit(w.virtual, after).IsEmpty() && !differs(w.virtual.Status.Capacity, after.Status.Capacity, "example.com/gpu") {
		return false
	}
	rules := Rules{VirtualScheduler: true}
	decide := rules.Decide
	if status != "" {
		decide = rules.DecideStatus
	}
	decision := decide(w.virtual, after)
	if len(decision.Denials) > 0 {
		return false
	}
	if decision.NeedsRecord() {
		if err := decision.WriteRecord(after); err != nil {
			t.Fatal(err)
		}
	}
	w.virtual = after
	model()
	return true
}

func edited(values map[string]string, key, value string, remove bool) map[string]string {
	values = maps.Clone(values)
	if values == nil {
		values = map[string]string{}
	}
	values[key] = value
	if remove {
		delete(values, key)
	}
	return values
}

// sync lets the syncer look. The two halves of its write are apart: a kill in
// between leaves the first.
func (w *twoWriters) sync(t *testing.T, killed bool) {
	t.Helper()
	host, after := w.host.DeepCopy(), w.virtual.DeepCopy()
	if err := fillReal(syncer.Scope{}, Options{VirtualScheduler: true, Nodes: v1alpha1.Nodes{Annotations: []string{"*"}, ShowFields: []v1alpha1.ShownField{v1alpha1.ShowProviderID}}}, host.DeepCopy(), after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(host, w.host); diff != "" {
		t.Fatalf("leaked to the host's node:\n%s", diff)
	}
	if killed {
		after.Status = w.virtual.Status
	}
	w.virtual = after
}

// check holds that nobody lost anything.
func (w *twoWriters) check() error {
	expectedValues := func(host, tenant map[string]string) map[string]string {
		want := map[string]string{}
		maps.Copy(want, tenant)
		maps.Copy(want, host)
		return want
	}
	annotations := maps.Clone(w.virtual.Annotations)
	for key := range ownAnnotations(annotations) {
		delete(annotations, key)
	}
	taints, want := map[string]corev1.Taint{}, maps.Clone(w.taints)
	for _, taint := range w.virtual.Spec.Taints {
		taints[taintKey(taint)] = taint
	}
	for _, taint := range w.host.Spec.Taints {
		want[taintKey(taint)] = taint
	}
	if w.cordoned {
		want[taintKey(cordonTaint())] = cordonTaint()
	}
	resources := w.resources.DeepCopy()
	maps.Copy(resources, w.host.Status.Capacity)
	switch {
	case !maps.Equal(expectedValues(w.host.Labels, w.labels), w.virtual.Labels):
		return fmt.Errorf("labels: %v, host %v, tenant %v", w.virtual.Labels, w.host.Labels, w.labels)
	case !maps.Equal(expectedValues(w.host.Annotations, w.annotations), annotations):
		return fmt.Errorf("annotations: %v, host %v, tenant %v", annotations, w.host.Annotations, w.annotations)
	case len(taints) != len(w.virtual.Spec.Taints) || !maps.Equal(want, taints):
		return fmt.Errorf("taints: %v, host %v, tenant %v", w.virtual.Spec.Taints, w.host.Spec.Taints, w.taints)
	case w.virtual.Spec.Unschedulable != (w.host.Spec.Unschedulable || w.cordoned):
		return fmt.Errorf("unschedulable: %v, host %v, tenant %v", w.virtual.Spec.Unschedulable, w.host.Spec.Unschedulable, w.cordoned)
	case !cmp.Equal(resources, cloneOrNew(w.virtual.Status.Capacity)):
		return fmt.Errorf("capacity: %v, host %v, tenant %v", w.virtual.Status.Capacity, w.host.Status.Capacity, w.resources)
	}
	return nil
}

// TestOverlay lets a host write 4 times 2,500 times into a node. A tenant has cordons,
// taints, labels, annotations and resources there. The syncer is killed between any two
// writes. Nothing may be lost, and nothing may reach the host.
func TestOverlay(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 7))
			w, kept, kills := newTwoWriters(), 0, 0
			for i := range 2_500 {
				w.hostWrites(r)
				for range r.IntN(3) {
					if w.tenantWrites(t, r) {
						kept++
					}
				}
				if r.IntN(4) == 0 {
					continue // The syncer sees several changes at once.
				}
				if r.IntN(20) == 0 {
					w.sync(t, true)
					kills++
					if r.IntN(2) == 0 {
						w.hostWrites(r)
						w.tenantWrites(t, r)
					}
				}
				w.sync(t, false)
				if err := w.check(); err != nil {
					t.Fatalf("after %d host updates: %v", i, err)
				}
				before := w.virtual.DeepCopy()
				w.sync(t, false)
				if diff := cmp.Diff(before, w.virtual); diff != "" {
					t.Fatalf("a second look finds something to write:\n%s", diff)
				}
			}
			if kept < 250 || kills < 25 {
				t.Errorf("the test tests too little: %d writes of the tenant's were kept, %d kills", kept, kills)
			}
		})
	}
}

func TestOverlayWithoutScheduler(t *testing.T) {
	t.Parallel()
	w := newTwoWriters()
	w.labels = map[string]string{"mine": "stays"}
	w.virtual.Labels = map[string]string{"mine": "stays"}
	w.virtual.Spec.Unschedulable = true
	w.virtual.Spec.Taints = []corev1.Taint{{Key: "mine", Effect: corev1.TaintEffectNoSchedule}}
	w.virtual.Annotations[labels.Tenant] = `{"capacity":{"example.com/dongle":"2"},"allocatable":{"example.com/dongle":"2"}}`
	w.virtual.Status.Capacity = corev1.ResourceList{"example.com/dongle": resource.MustParse("2")}
	if err := fillReal(syncer.Scope{}, Options{}, w.host, w.virtual); err != nil {
		t.Fatal(err)
	}
	if err := w.check(); err != nil {
		t.Errorf("what no scheduler uses goes, and all else stays: %v", err)
	}
	if hidden := readRecord(w.virtual.Annotations).hidden; len(hidden.Capacity)+len(hidden.Allocatable) > 0 {
		t.Error("the record must forget the resources too, or they would come back")
	}
}

func TestOverlaySurvivesEditedRecord(t *testing.T) {
	t.Parallel()
	for _, spoiled := range []string{"{broken", "[]", `{"labels":7}`, ""} {
		w := newTwoWriters()
		w.host.Labels = map[string]string{"disk": "ssd"}
		w.virtual.Labels = map[string]string{"mine": "stays"}
		w.virtual.Annotations = map[string]string{labels.LastApplied: spoiled, labels.Tenant: spoiled}
		if err := fillReal(syncer.Scope{}, Options{}, w.host, w.virtual); err != nil {
			t.Fatalf("a record that cannot be read (%q) must not stop the node: %v", spoiled, err)
		}
		if diff := cmp.Diff(map[string]string{"disk": "ssd", "mine": "stays"}, w.virtual.Labels); diff != "" {
			t.Errorf("%q: nothing is lost (-want +got):\n%s", spoiled, diff)
		}
	}
}
