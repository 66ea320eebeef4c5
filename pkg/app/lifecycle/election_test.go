package lifecycle

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// leaseStore is a store of leases that refuses updates of an older version, which
// the fake client does not.
type leaseStore struct {
	*fake.Clientset
	mu          sync.Mutex
	version     int
	retryPeriod time.Duration // of its replicas
	duration    time.Duration // of its lease
	// clock returns what the clock of a replica shows at a time. nil means that all are right.
	clock func(name string, at time.Time) time.Time
}

func newLeaseStore() *leaseStore {
	return &leaseStore{Clientset: fake.NewClientset(), retryPeriod: 50 * time.Millisecond, duration: leaseDuration}
}

func (s *leaseStore) invoke(action clienttesting.Action) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change, ok := action.(clienttesting.CreateAction) // an update is one, too
	if !ok {
		return s.Invokes(action, nil)
	}
	lease := change.GetObject().DeepCopyObject().(*coordinationv1.Lease)
	if action.GetVerb() == "update" && lease.ResourceVersion != strconv.Itoa(s.version) {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, lease.Name, errors.New("changed"))
	}
	s.shift(&lease.Spec)
	s.version++
	lease.ResourceVersion = strconv.Itoa(s.version)
	if action.GetVerb() == "update" {
		return s.Invokes(clienttesting.NewUpdateAction(action.GetResource(), action.GetNamespace(), lease), nil)
	}
	return s.Invokes(clienttesting.NewCreateAction(action.GetResource(), action.GetNamespace(), lease), nil)
}

// shift changes the times of a lease to those that its holder with a wrong clock writes.
func (s *leaseStore) shift(lease *coordinationv1.LeaseSpec) {
	if s.clock == nil || lease.HolderIdentity == nil {
		return
	}
	for _, at := range []*metav1.MicroTime{lease.AcquireTime, lease.RenewTime} {
		if at != nil {
			*at = metav1.NewMicroTime(s.clock(*lease.HolderIdentity, at.Time))
		}
	}
}

// client returns a client of the store, which fails while one of cut is true.
func (s *leaseStore) client(cut ...*atomic.Bool) *fake.Clientset {
	client := fake.NewClientset()
	client.PrependReactor("*", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
		for _, isCut := range cut {
			if isCut.Load() {
				return true, nil, errors.New("the store does not respond")
			}
		}
		object, err := s.invoke(action)
		return true, object, err
	})
	return client
}

// testLease names the lease that the replicas compete for.
func testLease() types.NamespacedName {
	return types.NamespacedName{Namespace: "kube-system", Name: "sublet-leader"}
}

// replica is one process of several that share a store.
type replica struct {
	name string
	// api counts starts of the part that every replica runs, terms those of the
	// leader part, and leading is true while the latter runs.
	api, terms atomic.Int32
	leading    atomic.Bool
	fail       chan error
	cut        atomic.Bool
	election   *Election
	contested  chan struct{}
	done       chan error
	stop       context.CancelFunc
}

// startReplica runs a process with one part of each sort on a shared store.
func startReplica(t *testing.T, store *leaseStore, name string, replicas int) *replica {
	t.Helper()
	r := &replica{name: name, fail: make(chan error, 1), done: make(chan error, 1)}
	client := store.client(&r.cut)
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	parts := []Part{
		{Name: "controllers", Leader: true, Run: func(ctx context.Context) error {
			r.terms.Add(1)
			r.leading.Store(true)
			defer r.leading.Store(false)
			select {
			case <-ctx.Done():
				return nil
			case err := <-r.fail:
				return err
			}
		}},
		{Name: "api", Run: func(ctx context.Context) error { r.api.Add(1); <-ctx.Done(); return nil }},
	}
	r.contested = make(chan struct{})
	if replicas > 1 {
		close(r.contested)
	}
	r.election = &Election{
		Contested: r.contested, Watch: store.watch, LeaseDuration: store.duration, RenewDeadline: store.duration / 3, RetryPeriod: store.retryPeriod,
		Leases: client.CoordinationV1(), Lease: testLease(), Identity: name,
	}
	go func() { r.done <- Run(ctx, parts, r.election) }()
	t.Cleanup(func() { cancel(); <-r.done }) //nolint:errcheck // the tests that fail read it
	return r
}

// patience is how long a test waits for what takes a moment on an idle machine.
// leaseDuration is the time of a lease. It is long, as a busy machine suspends a process for
// seconds.
const (
	patience      = 2 * time.Minute
	leaseDuration = 15 * time.Second
)

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within %s", what, patience)
		case <-ticker.C:
		}
	}
}

// TestLeadershipMoves runs two replicas on one store and takes the store from the
// leader. Its term ends and the other's begins. The other parts run on.
func TestLeadershipMoves(t *testing.T) {
	t.Parallel()
	store := newLeaseStore()
	first := startReplica(t, store, "shop-0", 2)
	eventually(t, "the first leads", first.leading.Load)
	second := startReplica(t, store, "shop-1", 2)
	eventually(t, "the second serves", func() bool { return second.api.Load() == 1 })

	first.cut.Store(true)
	eventually(t, "the second leads", func() bool {
		if second.leading.Load() && first.leading.Load() { // In this order: the term of the first may end in between.
			t.Error("both lead")
		}
		return second.leading.Load()
	})
	first.cut.Store(false)
	second.stop()
	second.done <- <-second.done
	eventually(t, "the first leads again", func() bool { return first.terms.Load() > 1 && first.leading.Load() })
	if first.api.Load() != 1 || len(first.done) != 0 {
		t.Error("the loss of the lease ended the process")
	}
}

// TestLeaderPartFails ends the process: nobody would notice otherwise.
func TestLeaderPartFails(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 2} {
		r := startReplica(t, newLeaseStore(), "shop-0", replicas)
		eventually(t, "it leads", r.leading.Load)
		r.fail <- errors.New("no disk")
		err := <-r.done
		if err == nil || !strings.Contains(err.Error(), "controllers: no disk") {
			t.Errorf("%d replicas: %v", replicas, err)
		}
		r.done <- err
	}
}

// TestOneReplica holds that a single replica sends no request for its lease.
func TestOneReplica(t *testing.T) {
	t.Parallel()
	store := newLeaseStore()
	r := startReplica(t, store, "shop-0", 1)
	eventually(t, "it leads", r.leading.Load)
	r.stop()
	r.done <- <-r.done
	if actions := store.Actions(); len(actions) != 0 {
		t.Errorf("the store got %v", actions)
	}
}
