package host

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"
)

// sharedReplica is one of several replicas on a store.
type sharedReplica struct {
	*Holder
	lease atomic.Bool
	end   context.CancelFunc
	lost  chan error
}

// newSharedReplica discovers the host as one of several replicas, and watches the anchor.
func newSharedReplica(t *testing.T, client *fake.Clientset, pod, uid string) *sharedReplica {
	t.Helper()
	d := newDiscovery(t, client)
	d.IsShared = func(*Facts, int) bool { return true }
	d.Identity, d.Clock = Identity{Pod: pod, UID: uid, InPod: true}, clock.RealClock{}
	_, holder, err := d.Discover(t.Context(), func(reason string) { t.Errorf("%s stands by: %s", pod, reason) })
	if err != nil {
		t.Fatal(err)
	}
	r := &sharedReplica{Holder: holder}
	holder.SetLease(r.lease.Load)
	before := watches(client, "configmaps")
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); _ = holder.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	// A fake server delivers what happens later only.
	eventually(t, "the watch of "+pod, func() bool { return watches(client, "configmaps") > before })
	return r
}

// lead begins a term.
func (r *sharedReplica) lead(t *testing.T) {
	t.Helper()
	r.lease.Store(true)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r.end, r.lost = cancel, make(chan error, 1)
	go func() { r.lost <- r.Lead(ctx) }()
	t.Cleanup(func() { cancel(); r.lost <- <-r.lost })
}

func twoPods() []runtime.Object {
	return append(chartObjects(nil),
		&corev1.Pod{ObjectMeta: meta("shop-0", "a", nil)}, &corev1.Pod{ObjectMeta: meta("shop-1", "b", nil)})
}

// TestLeaders lets two replicas lead one after the other. Both belong from the start, and
// the host knows which one leads.
func TestLeaders(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(twoPods()...)
	first, second := newSharedReplica(t, client, "shop-0", "a"), newSharedReplica(t, client, "shop-1", "b")
	for _, r := range []*sharedReplica{first, second} {
		if err := r.MayWrite(); err != nil {
			t.Errorf("a replica that belongs may not write host-first: %v", err)
		}
		if err := r.MayLead(); !errors.Is(err, ErrNotLeading) {
			t.Errorf("a follower may lead: %v", err)
		}
	}
	if diff := cmp.Diff(Record{}, recordOf(getAnchor(t, client))); diff != "" {
		t.Errorf("a follower has written a record (-want +got):\n%s", diff)
	}

	first.lead(t)
	eventually(t, "the first leads", func() bool { return first.MayLead() == nil })
	if got := recordOf(getAnchor(t, client)); got != (Record{"shop-0", "a", 1}) {
		t.Errorf("the record is %+v", got)
	}
	// The first is suspended: it does not see that its lease has expired.
	second.lead(t)
	eventually(t, "the second leads", func() bool { return second.MayLead() == nil })
	eventually(t, "the first sees its successor", func() bool { return first.MayLead() != nil })
	if err := <-first.lost; !errors.Is(err, ErrNotLeading) {
		t.Errorf("the term of the first ends with %v", err)
	} else {
		first.lost <- err
	}
	if got := recordOf(getAnchor(t, client)); got != (Record{"shop-1", "b", 2}) || first.MayWrite() != nil {
		t.Errorf("the record is %+v, and the first may write host-first: %v", got, first.MayWrite())
	}

	second.end()
	eventually(t, "the second follows", func() bool { return second.MayLead() != nil })
	first.lead(t)
	eventually(t, "the first leads again", func() bool { return first.MayLead() == nil })
	if got := recordOf(getAnchor(t, client)); got != (Record{"shop-0", "a", 3}) {
		t.Errorf("the record is %+v", got)
	}
}

// TestNoRecordWithoutLease lets a replica whose lease has expired begin its term.
func TestNoRecordWithoutLease(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(twoPods()...)
	r := newSharedReplica(t, client, "shop-0", "a")
	r.lead(t)
	r.lease.Store(false)
	eventually(t, "it does not lead", func() bool { return r.MayLead() != nil })
	second := newSharedReplica(t, client, "shop-1", "b")
	second.lead(t)
	eventually(t, "the second leads", func() bool { return second.MayLead() == nil })
	eventually(t, "the record names the second", func() bool { return recordOf(getAnchor(t, client)).Pod == "shop-1" })
}

// leadAlone returns a replica that is alone and whose term has begun.
func leadAlone(t *testing.T) *sharedReplica {
	t.Helper()
	client := fake.NewClientset(twoPods()...)
	d := newDiscovery(t, client)
	d.Identity = Identity{Pod: "shop-0", UID: "a", InPod: true}
	_, holder, err := d.Discover(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	first := &sharedReplica{Holder: holder}
	holder.SetLease(first.lease.Load)
	first.lead(t)
	eventually(t, "its term has begun", func() bool {
		holder.mu.Lock()
		defer holder.mu.Unlock()
		return holder.term.leads
	})
	return first
}

// TestShare lets further replicas use the store of one that is alone. Its record becomes
// that of its term.
func TestShare(t *testing.T) {
	t.Parallel()
	first := leadAlone(t)
	if err := first.MayLead(); err != nil {
		t.Errorf("a replica that is alone does not lead: %v", err)
	}
	first.Share()
	if err := first.MayLead(); err != nil || first.Record().Epoch != 1 {
		t.Errorf("it does not lead any more: %v, record %+v", err, first.Record())
	}
	first.lease.Store(false)
	if err := first.MayLead(); !errors.Is(err, ErrNotLeading) {
		t.Errorf("it leads without the lease: %v", err)
	}
}

// TestShareUnproven shares the store while the host does not answer. The term gets its record once it does.
func TestShareUnproven(t *testing.T) {
	t.Parallel()
	first := leadAlone(t)
	first.recordFailure(errors.New("the host is away"))
	first.Share()
	eventually(t, "the record names its term", func() bool { return first.MayLead() == nil })
}

// TestSharedCerts lets a replica of a shared store meet a release without keys.
func TestSharedCerts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason  string
		anchor  map[string]string
		known   bool
		standby string
	}{
		"New":  {"The first replica of a new release creates the keys.", nil, false, ""},
		"Lost": {"A store that somebody has led gets no new keys: they would void all kubeconfigs.", heldBy("shop-1", "b", "3"), false, "has no copy of its keys"},
		"Copy": {"A replica with a copy restores them.", heldBy("shop-1", "b", "3"), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset(chartObjects(tc.anchor)...)
			d := newDiscovery(t, client)
			d.IsShared, d.Identity = func(*Facts, int) bool { return true }, pod0("a")
			if tc.known {
				known := &Facts{Anchor: shop().AnchorOwner("anchor-uid"), Certs: map[string][]byte{"ca.crt": []byte("copy")}}
				if err := known.save(d.DataDir); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reason := ""
			facts, _, err := d.Discover(ctx, func(text string) { reason = text; cancel() })
			if tc.standby != "" {
				if !strings.Contains(reason, tc.standby) {
					t.Errorf("%s: got %q, %v", tc.reason, reason, err)
				}
				return
			}
			if err != nil || tc.known != (string(facts.Certs["ca.crt"]) == "copy") {
				t.Errorf("%s: %v, %v", tc.reason, facts, err)
			}
		})
	}
}

// TestReplicas scales a StatefulSet.
func TestReplicas(t *testing.T) {
	t.Parallel()
	three := int32(3)
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: shop().Namespace}}
	client := fake.NewClientset(set)
	replicas := NewReplicas(client, shop(), clock.RealClock{})
	seen := make(chan int, 10)
	replicas.OnChange(func(count int) { seen <- count })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- replicas.Run(ctx) }()
	if got := <-seen; got != 1 {
		t.Errorf("a StatefulSet without a number has %d replicas", got)
	}
	eventually(t, "it watches", func() bool {
		for _, action := range client.Actions() {
			if action.GetVerb() == "watch" {
				return true
			}
		}
		return false
	})
	set.Spec.Replicas = &three
	if _, err := client.AppsV1().StatefulSets(shop().Namespace).Update(t.Context(), set, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, count := <-seen, func() int { n, _ := replicas.Count(); return n }(); got != 3 || count != 3 {
		t.Errorf("got %d and %d replicas, want 3", got, count)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
