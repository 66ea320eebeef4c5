package syncer

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// changeBench returns an engine with a host node and its virtual copy.
func changeBench(t *testing.T) (e *Engine, host *fakeServer, virtual *corev1.Node) {
	t.Helper()
	e, _, host = firstBench(t)
	e.runners["nodes"].reconciler.host.client = host
	host.add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "h", Labels: map[string]string{"a": "1"}}})
	return e, host, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", ResourceVersion: "7", Annotations: map[string]string{labels.HostUID: "h"}}}
}

func hostLabels(host *fakeServer) map[string]string {
	if node := host.get(&corev1.Node{}, types.NamespacedName{Name: "n"}); node != nil {
		return node.GetLabels()
	}
	return nil
}

func relabel(o client.Object) error {
	l := o.GetLabels()
	l["b"] = "2"
	o.SetLabels(l)
	return nil
}

func TestChangeFirst(t *testing.T) {
	t.Parallel()
	no := errors.New("no")
	tests := map[string]struct {
		reason  string
		kind    string
		arrange func(host *fakeServer, virtual *corev1.Node)
		change  func(client.Object) error
		dryRun  bool
		want    map[string]string
		err     string
		waits   bool
	}{
		"Changes": {reason: "the host has it when the call returns, and reconciles wait for the virtual half", want: map[string]string{"a": "1", "b": "2"}, waits: true},
		"Nothing": {reason: "nothing to change is no request", change: func(client.Object) error { return nil }, want: map[string]string{"a": "1"}},
		"DryRun":  {reason: "the host is asked and keeps nothing, and nobody waits", dryRun: true, want: map[string]string{"a": "1"}},
		"Says no": {reason: "what change says is the answer", change: func(client.Object) error { return no }, want: map[string]string{"a": "1"}, err: "no"},
		"Refused": {
			reason: "the host's refusal is the answer, and nobody waits", err: "pools are fixed", want: map[string]string{"a": "1"},
			arrange: func(host *fakeServer, _ *corev1.Node) {
				host.before = func(string, client.Object) error {
					return apierrors.NewForbidden(corev1.Resource("nodes"), "n", errors.New("pools are fixed"))
				}
			},
		},
		"Gone": {
			reason: "a node that the host no longer has", err: "is gone",
			arrange: func(host *fakeServer, virtual *corev1.Node) { host.removeNow(virtual) },
		},
		"Another": {
			reason: "a node that joined again under the name is not the one that the tenant saw", err: "is gone", want: map[string]string{"a": "1"},
			arrange: func(_ *fakeServer, virtual *corev1.Node) { virtual.Annotations[labels.HostUID] = "before" },
		},
		"Hidden": {
			reason: "a node that is not shown is none of the tenant's", err: "is gone", want: map[string]string{"hidden": "x"},
			arrange: func(host *fakeServer, _ *corev1.Node) {
				host.add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "h", Labels: map[string]string{"hidden": "x"}}})
			},
		},
		"Kind":    {reason: "of the tenant's own kinds the host has copies", kind: "services", err: "has no copies of host objects", want: map[string]string{"a": "1"}},
		"Unknown": {reason: "a kind that is off", kind: "pets", err: "has no copies of host objects", want: map[string]string{"a": "1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, host, virtual := changeBench(t)
			if test.arrange != nil {
				test.arrange(host, virtual)
			}
			kind, change := "nodes", relabel
			if test.kind != "" {
				kind = test.kind
			}
			if test.change != nil {
				change = test.change
			}
			err := e.ChangeHostFirst(t.Context(), kind, virtual, change, test.dryRun)
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: got %v", test.reason, err)
			}
			if diff := cmp.Diff(test.want, hostLabels(host)); diff != "" {
				t.Errorf("%s: the host's labels (-want +got):\n%s", test.reason, diff)
			}
			if got := e.runners["nodes"].reconciler.expectations.isAwaited(client.ObjectKeyFromObject(virtual), virtual); got != test.waits {
				t.Errorf("%s: reconciles wait: %v", test.reason, got)
			}
		})
	}
}

// TestChangeFirstMeetsAnother lets others change the node between the look and the
// patch: a list is patched whole, so theirs would be lost.
func TestChangeFirstMeetsAnother(t *testing.T) {
	t.Parallel()
	for meets, fails := range map[int]bool{1: false, hostFirstAttempts - 1: false, hostFirstAttempts: true} {
		e, host, virtual := changeBench(t)
		calls := 0
		err := e.ChangeHostFirst(t.Context(), "nodes", virtual, func(o client.Object) error {
			node := o.(*corev1.Node)
			if calls++; calls <= meets {
				other := node.DeepCopy()
				other.Spec.Taints = append(other.Spec.Taints, corev1.Taint{Key: strings.Repeat("x", calls), Effect: corev1.TaintEffectNoSchedule})
				host.add(other)
			}
			node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: "mine", Effect: corev1.TaintEffectNoSchedule})
			return nil
		}, false)
		got := host.get(&corev1.Node{}, client.ObjectKeyFromObject(virtual)).(*corev1.Node).Spec.Taints
		if fails && !apierrors.IsServerTimeout(err) || !fails && (err != nil || len(got) != meets+1) {
			t.Errorf("with %d changes in between: %v, taints %v", meets, err, got)
		}
	}
}

func TestSay(t *testing.T) {
	t.Parallel()
	Scope{}.RecordEvent("Nobody", "listens") // As in the tests of a kind.
	e, virtual, _ := firstBench(t)
	r := e.runners["nodes"].reconciler
	r.events.client = virtual
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "v"}}
	scope := r.withRecorder(r.scope(t.Context()), node)
	for range 3 {
		scope.RecordEvent("NodeChangesHidden", "the host has it")
	}
	scope.RecordEvent("NodeChangesHidden", strings.Repeat("ü", 1000)) // The limit is inside a character.
	events := virtual.list(&corev1.Event{}, apilabels.Everything())
	if len(events) != 2 {
		t.Fatalf("one and the same note is written once: %v", events)
	}
	for _, o := range events {
		event := o.(*corev1.Event)
		if event.Reason != "NodeChangesHidden" || event.InvolvedObject.UID != "v" || event.Namespace != "default" || len(event.Message) > maxMessageLength || !utf8.ValidString(event.Message) {
			t.Errorf("event %+v", event)
		}
	}
}
