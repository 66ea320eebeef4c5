package kinds

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// run is one case in progress: a kind, and the two API servers that it sees.
type run struct {
	step          syncer.Step
	virtual, host client.Object
	sides         map[syncer.Side]*shelf
	refused       string // why the host gets no copy
}

func newRun(t *testing.T, kind syncer.Kind, in golden, copies map[string]types.NamespacedName) *run {
	t.Helper()
	r := &run{sides: map[syncer.Side]*shelf{
		syncer.Virtual: newShelf(syncer.Virtual, kind.Indexes()), syncer.Host: newShelf(syncer.Host, kind.Indexes()),
	}}
	putObject := func(side syncer.Side, raw json.RawMessage) client.Object {
		if raw == nil {
			return nil
		}
		object := decode(t, raw)
		if key, ok := copies[object.GetName()]; ok && side == syncer.Host {
			uid := types.UID("uid-of-" + key.Name)
			if r.virtual != nil && client.ObjectKeyFromObject(r.virtual) == key {
				uid = r.virtual.GetUID()
			}
			translate.Stamp(testCluster(), translate.Hashed, key, uid, object)
		}
		if side == syncer.Host && object.GetUID() == "" {
			object.SetUID(types.UID("host-uid-of-" + object.GetName()))
		}
		if side == syncer.Host && object.GetResourceVersion() == "" {
			object.SetResourceVersion("1")
		}
		r.sides[side].putObject(object)
		return object
	}
	r.virtual = putObject(syncer.Virtual, in.Virtual)
	r.host = putObject(syncer.Host, in.Host)
	putAll := func(side syncer.Side, all []json.RawMessage) {
		for _, raw := range all {
			putObject(side, raw)
		}
	}
	putAll(syncer.Virtual, in.InVirtual)
	putAll(syncer.Host, in.InHost)
	if kind.Owner() == syncer.Host && r.virtual != nil && r.virtual.GetAnnotations()[labels.HostUID] == "" {
		// The copy of the host object, unless the case has another one.
		annotations := maps.Clone(r.virtual.GetAnnotations())
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[labels.HostUID] = string(r.host.GetUID())
		r.virtual.SetAnnotations(annotations)
		r.sides[syncer.Virtual].putObject(r.virtual)
	}
	own := func(side syncer.Side, like client.Object) syncer.StepSide {
		return syncer.StepSide{Client: r.sides[side], Objects: func() []client.Object { return r.sides[side].ofType(like) }}
	}
	r.step = syncer.Step{
		Kind: kind, Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()),
		Virtual: own(syncer.Virtual, kind.NewVirtual()), Host: own(syncer.Host, kind.NewHost()),
	}
	if len(in.Earlier) > 0 {
		putAll(syncer.Virtual, in.Earlier)
		r.reconcile(t, client.ObjectKeyFromObject(r.virtual))
		putAll(syncer.Virtual, append(in.InVirtual, in.Virtual))
	}
	return r
}

func decode(t *testing.T, raw json.RawMessage) client.Object {
	t.Helper()
	object, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), raw)
	if runtime.IsNotRegisteredError(err) {
		object, err = runtime.Decode(unstructured.UnstructuredJSONScheme, raw)
	}
	if err != nil {
		t.Fatalf("cannot read %s: %v", raw, err)
	}
	into, ok := object.(client.Object)
	if !ok {
		t.Fatalf("%T is no object", object)
	}
	into.GetObjectKind().SetGroupVersionKind(object.GetObjectKind().GroupVersionKind())
	return into
}

// outcome lets the engine reconcile until it has nothing left to write.
func (r *run) outcome(t *testing.T) outcome {
	t.Helper()
	out := outcome{Also: r.also(t)}
	var key types.NamespacedName
	if r.step.Kind.Owner() == syncer.Host {
		var ok bool
		if key, ok = r.step.Origin(t.Context(), r.host); !ok {
			out.Key = "none"
			return out
		}
		out.Key = key.String()
	} else {
		key = client.ObjectKeyFromObject(r.virtual)
	}
	r.reconcile(t, key)
	virtual := r.sides[syncer.Virtual].ofKey(r.step.Kind.NewVirtual(), key)
	if r.step.Kind.Owner() == syncer.Host {
		out.Wanted, out.Deleted = virtual != nil, r.sides[syncer.Virtual].deleted != nil
		if out.Wanted {
			out.Up = r.sides[syncer.Virtual].plain(t, virtual)
			out.Last = r.deleteHost(t, key, virtual)
		}
		return out
	}
	host := r.sides[syncer.Host].ofKey(r.step.Kind.NewHost(), r.step.HostKey(key))
	out.Refused = r.refused
	for _, object := range r.sides[syncer.Virtual].ofType(&corev1.Event{}) {
		if event, ok := object.(*corev1.Event); ok && event.InvolvedObject.UID == r.virtual.GetUID() {
			out.Events = append(out.Events, event.Reason+": "+event.Message)
		}
	}
	out.Wanted, out.Deleted = host != nil, r.sides[syncer.Host].deleted != nil
	if out.Wanted {
		out.Down = r.sides[syncer.Host].plain(t, host)
	}
	if (r.host != nil || r.refused != "") && virtual != nil && r.step.Kind.HasUp() {
		out.Up = r.sides[syncer.Virtual].plain(t, virtual)
	}
	return out
}

// maxSteps is how many reconciles a case may take until nothing is left to write.
const maxSteps = 6

// reconcile reconciles the key until nothing is written any more.
func (r *run) reconcile(t *testing.T, key types.NamespacedName) {
	t.Helper()
	for range maxSteps {
		before := r.writes()
		_, err := r.step.Reconcile(t.Context(), key)
		if unsupported, ok := errors.AsType[*translate.UnsupportedError](err); ok {
			// The engine tries again after a while, and records its Event again.
			r.refused = unsupported.Error()
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.writes() == before {
			return
		}
	}
	t.Errorf("the kind is not content with its own work: it still writes after %d reconciles: %v", maxSteps,
		slices.Concat(r.sides[syncer.Virtual].requests, r.sides[syncer.Host].requests))
}

// writes returns how many objects were written, without Events: the engine records one again
// after a while.
func (r *run) writes() int {
	count := 0
	for _, request := range slices.Concat(r.sides[syncer.Virtual].requests, r.sides[syncer.Host].requests) {
		if !strings.Contains(request, " Event ") {
			count++
		}
	}
	return count
}

// deleteHost removes the host objects and returns the virtual copy at the moment when it is
// deleted. It returns nil if the engine has not changed the copy before.
func (r *run) deleteHost(t *testing.T, key types.NamespacedName, virtual client.Object) any {
	t.Helper()
	before := r.sides[syncer.Virtual].plain(t, virtual)
	r.sides[syncer.Host].objects = nil
	r.sides[syncer.Virtual].deleted = nil
	r.reconcile(t, key)
	if deleted := r.sides[syncer.Virtual].deleted; deleted != nil {
		if last := r.sides[syncer.Virtual].plain(t, deleted); !cmp.Equal(before, last) {
			return last
		}
	}
	return nil
}

// also returns what a change of each cached object requeues.
func (r *run) also(t *testing.T) []string {
	t.Helper()
	var keys []string
	for _, watch := range r.step.Kind.Watches() {
		for _, object := range r.sides[watch.Side].ofType(watch.Object) {
			found, err := r.step.Requeued(t.Context(), watch, object)
			if err != nil {
				t.Error(err)
			}
			for _, key := range found {
				keys = append(keys, key.String())
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
