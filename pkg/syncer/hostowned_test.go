package syncer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// node returns a node, changed by edits.
func node(uid types.UID, edits ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: uid, Labels: map[string]string{"zone": "a"}},
		Status:     corev1.NodeStatus{Phase: corev1.NodeRunning},
	}
	for _, edit := range edits {
		edit(n)
	}
	return n
}

// markCopy marks a virtual node as the copy of a host node.
func markCopy(n *corev1.Node) { n.Annotations = map[string]string{labels.HostUID: "h1"} }

func TestHostOwned(t *testing.T) {
	t.Parallel()
	outlives := nodes()
	outlives.outlives = true
	held := nodes()
	held.beforeDelete = func(_ Scope, virtual client.Object) error {
		virtual.(*corev1.Node).Status.Phase = corev1.NodeTerminated
		return nil
	}
	setDeleting := func(n *corev1.Node) {
		n.DeletionTimestamp, n.Finalizers = &metav1.Time{Time: testStart()}, []string{"example.com/held"}
	}
	hidden := func(n *corev1.Node) { n.Labels = map[string]string{"hidden": "yes"} }
	tests := map[string]struct {
		reason        string
		kind          Kind
		virtual, host client.Object
		lateHost      bool
		want          reconciled
	}{
		"Create": {
			reason: "A host object that is wanted is shown.",
			kind:   nodes(), host: node("h1"),
			want: reconciled{virtual: []string{"create"}},
		},
		"Hidden": {
			reason: "A host object that is not wanted is not shown.",
			kind:   nodes(), host: node("h1", hidden),
		},
		"NoLongerWanted": {
			reason: "The copy of a host object that is no longer wanted goes.",
			kind:   nodes(), host: node("h1", hidden), virtual: node("v1", markCopy),
			want: reconciled{virtual: []string{"delete"}},
		},
		"NoLongerWantedOutlives": {
			reason: "The copy stays if the kind says that copies do.",
			kind:   outlives, host: node("h1", hidden), virtual: node("v1", markCopy),
		},
		"Equal": {
			reason: "Nothing is written when both sides agree.",
			kind:   nodes(), host: node("h1"), virtual: node("v1", markCopy),
		},
		"Labels": {
			reason: "A change of the host's goes up.",
			kind:   nodes(), host: node("h1"), virtual: node("v1", markCopy, func(n *corev1.Node) { n.Labels = nil }),
			want: reconciled{virtual: []string{"update"}},
		},
		"LabelsAndStatus": {
			reason: "Status and the rest go up by their own requests.",
			kind:   nodes(), host: node("h1"), virtual: node("v1", markCopy, func(n *corev1.Node) { n.Labels, n.Status.Phase = nil, "" }),
			want: reconciled{virtual: []string{"update", "update status"}},
		},
		"Gone": {
			reason: "The copy of a host object that is gone goes.",
			kind:   nodes(), virtual: node("v1", markCopy),
			want: reconciled{virtual: []string{"delete"}},
		},
		"GoneOutlives": {
			reason: "The copy of a host object that is gone stays if the kind says that copies do.",
			kind:   outlives, virtual: node("v1", markCopy),
		},
		"GoneHeld": {
			reason: "A copy that something holds back says first that it is of no use any more.",
			kind:   held, virtual: node("v1", markCopy),
			want: reconciled{virtual: []string{"update status", "delete"}},
		},
		"GoneDeleted": {
			reason: "So does one whose deletion has begun before its host object was gone.",
			kind:   held, virtual: node("v1", markCopy, setDeleting),
			want: reconciled{virtual: []string{"update status"}},
		},
		"GoneSaid": {
			reason: "It says so once.",
			kind:   held, virtual: node("v1", markCopy, setDeleting, func(n *corev1.Node) { n.Status.Phase = corev1.NodeTerminated }),
		},
		"NotGone": {
			reason: "What only the cache lacks is not gone.",
			kind:   nodes(), host: node("h1"), virtual: node("v1", markCopy), lateHost: true,
			want: reconciled{again: time.Second},
		},
		"TenantsOwn": {
			reason: "An object that a tenant made is not changed, whatever the host has.",
			kind:   nodes(), host: node("h1"), virtual: node("v1", func(n *corev1.Node) { n.Labels = nil }),
		},
		"TenantsOwnUnwanted": {
			reason: "An object that a tenant made is not deleted for the host's object being hidden.",
			kind:   nodes(), host: node("h1", hidden), virtual: node("v1"),
		},
		"TenantsOwnGone": {
			reason: "An object that a tenant made is not deleted for lack of a host object.",
			kind:   nodes(), virtual: node("v1"),
		},
		"Replaced": {
			reason: "A copy follows the object that took the host object's name, unless the kind wants it created again.",
			kind:   nodes(), host: node("h2"), virtual: node("v1", markCopy),
			want: reconciled{virtual: []string{"update"}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clocktesting.NewFakeClock(testStart())
			b := newBenchOf(tc.kind, c, tc.virtual, tc.host)
			if tc.lateHost {
				b.hostView.seen = nil
			}
			again, err := b.reconcile(t.Context(), types.NamespacedName{Name: "n1"})
			b.compare(t, tc.reason, tc.want, again, err)
		})
	}
}

func TestCopyHasItsOrigin(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual, host := newFakeServer("virtual", c), newFakeServer("host", c, node("h1"))
	b := newBench(nodes(), c, virtual, host)
	if err := b.reconcileUntilQuiet(t, types.NamespacedName{Name: "n1"}); err != nil {
		t.Fatal(err)
	}
	got := virtual.get(&corev1.Node{}, types.NamespacedName{Name: "n1"})
	if got == nil || got.GetAnnotations()[labels.HostUID] != "h1" {
		t.Errorf("A copy must name the UID of its host object, got %v", got)
	}
	if diff := cmp.Diff(map[string]string{"zone": "a"}, got.GetLabels()); diff != "" {
		t.Errorf("A copy must have what the kind fills in (-want +got):\n%s", diff)
	}
}

// TestUnselectedStatus hides a part of the status of a copy that is no longer selected, and changes
// nothing else.
func TestUnselectedStatus(t *testing.T) {
	t.Parallel()
	kind := nodes()
	kind.selector = apilabels.SelectorFromSet(apilabels.Set{"zone": "b"})
	kind.unselected = func(_ Scope, virtual client.Object) (bool, error) {
		virtual.(*corev1.Node).Status.Phase = ""
		return true, nil
	}
	c := clocktesting.NewFakeClock(testStart())
	b := newBenchOf(kind, c, node("v1", markCopy), node("h1"))
	for _, want := range []reconciled{{virtual: []string{"update status"}}, {}} {
		b.refresh()
		b.virtualServer.requests = nil
		again, err := b.reconcile(t.Context(), types.NamespacedName{Name: "n1"})
		b.compare(t, "The status is written once.", want, again, err)
	}
}

// TestUnselectedIsVerified deletes no copy that an object of the host needs which the cache does not show yet.
func TestUnselectedIsVerified(t *testing.T) {
	t.Parallel()
	for name, needed := range map[string]bool{"Needed": true, "NotNeeded": false} {
		kind := nodes()
		kind.selector = apilabels.SelectorFromSet(apilabels.Set{"zone": "b"})
		kind.unselected = func(s Scope, _ client.Object) (bool, error) {
			_, isLive := s.Host.(*liveReader)
			return needed && isLive, nil
		}
		b := newBenchOf(kind, clocktesting.NewFakeClock(testStart()), node("v1", markCopy), node("h1"))
		b.refresh()
		if _, err := b.reconcile(t.Context(), types.NamespacedName{Name: "n1"}); err != nil {
			t.Fatal(err)
		}
		if stays := b.virtualServer.get(&corev1.Node{}, types.NamespacedName{Name: "n1"}) != nil; stays != needed {
			t.Errorf("%s: the copy stays: %v, want %v", name, stays, needed)
		}
	}
}
