package syncer

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// store holds the cached objects of one type on one side. They are shared and must not be
// changed.
type store interface {
	// Get returns the object of that name, nil if there is none.
	Get(key types.NamespacedName) client.Object
	// List returns every object.
	List() []client.Object
}

// sideClients is one side as a reconciler sees it.
type sideClients struct {
	// store holds the kind's own objects.
	store store
	// reader is the reader that a Scope has for this side.
	reader client.Reader
	// client sends requests to the API server, reads included.
	client client.Client
	// hasStatus reports whether a type has a status subresource. nil means every
	// type with a status.
	hasStatus func(client.Object) (bool, error)
	// forgetStatus drops what hasStatus knows of a type. nil drops nothing.
	forgetStatus func(client.Object)
}

// reconciler reconciles single keys of one kind. It reads both sides of a key and takes the
// next step.
type reconciler struct {
	kind         Kind
	cluster      translate.Cluster
	clock        clock.PassiveClock
	log          logr.Logger
	virtual      sideClients
	host         sideClients
	expectations *expectations
	sightings    *sightings
	compared     *compared
	alterations  *alterations
	contests     *contests
	events       *tenantEvents
	unstored     *unstoredCopies
	// pendingRefusal returns why the host has refused a copy whose retry is not due, nil if
	// the host may be asked. If the field is nil, the host is always asked.
	pendingRefusal func(key types.NamespacedName, virtual client.Object) error
	// failures returns how often the key has failed in a row. If the field is nil, failures are not
	// reported.
	failures func(key types.NamespacedName) int
	// ledger counts the copies on the host, under copyResource. It is nil for a [Step]. The
	// resource is empty for a kind whose copies are not on the host.
	ledger       *copyLedger
	copyResource string
	// paused stops creates and deletes of copies.
	paused *atomic.Bool
	// holdReason returns why nothing may be deleted on the host, empty if it may.
	holdReason func() string
	// isCopied implements [Scope.IsCopied]. nil returns true.
	isCopied func(virtual, host client.Object) bool
	// onWrite is called after each request that changed something.
	onWrite func()
}

// newReconciler returns a reconciler without the two sides and the parts of an engine.
func newReconciler(kind Kind, cluster translate.Cluster, c clock.PassiveClock, log logr.Logger) *reconciler {
	return &reconciler{
		kind: kind, cluster: cluster, clock: c, log: log,
		expectations: newExpectations(c),
		sightings:    newSightings(c),
		compared:     newCompared(),
		alterations:  newAlterations(c),
		contests:     newContests(c),
		unstored:     &unstoredCopies{},
		holdReason:   func() string { return "" },
		onWrite:      func() {},
	}
}

// reconcile looks at both sides of key and takes the next step. It returns when to
// reconcile again without any event, 0 for never.
func (r *reconciler) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	var after time.Duration
	s := r.scope(ctx)
	s.requeueAfter = &after
	var err error
	if r.kind.owner == Virtual {
		err = r.reconcileVirtualOwned(s, key)
	} else {
		err = r.reconcileHostOwned(s, key)
	}
	return after, err
}

// scope returns the scope of one reconcile.
func (r *reconciler) scope(ctx context.Context) Scope {
	return Scope{
		Context: ctx, Cluster: r.cluster, Now: r.clock.Now(),
		Virtual: r.virtual.reader, Host: r.host.reader, LiveVirtual: r.liveVirtualReader(), isCopied: r.isCopied,
	}
}

// load returns s with the result of the kind's Load.
func (r *reconciler) load(s Scope, virtual, host client.Object) (Scope, error) {
	if r.kind.load == nil {
		return s, nil
	}
	loaded, err := r.kind.load(s, virtual, host)
	if err != nil {
		return s, fmt.Errorf("cannot load the state of %s: %w", r.kind.name, err)
	}
	s.Loaded = loaded
	return s, nil
}

// hostKey returns the name of the host copy of key.
func (r *reconciler) hostKey(key types.NamespacedName) types.NamespacedName {
	return r.kind.names(r.cluster, key)
}

// deleteOptions are the options of a delete.
type deleteOptions struct {
	// grace is the grace period in seconds. nil means that of the object.
	grace *int64
	// ifUnchanged makes the delete fail if the object has changed since it was read.
	ifUnchanged bool
}

// deleteHost deletes a host object that is proven to be ours.
func (r *reconciler) deleteHost(s Scope, key types.NamespacedName, host client.Object, o deleteOptions) error {
	if err := r.checkPaused(); err != nil {
		return err
	}
	if reason := r.holdReason(); reason != "" {
		return &onHoldError{reason}
	}
	if r.expectations.isDeletePending(Host, key, host, o.grace) {
		return nil
	}
	if err := deleteByUID(s.Context, r.host.client, host, o); err != nil {
		return fmt.Errorf("cannot delete host object %s: %w", client.ObjectKeyFromObject(host), err)
	}
	r.expectations.recordDelete(Host, key, host, o.grace)
	r.onWrite()
	return nil
}

// deleteVirtual deletes a virtual object.
func (r *reconciler) deleteVirtual(s Scope, key types.NamespacedName, virtual client.Object, grace *int64) error {
	if err := r.checkPaused(); err != nil {
		return err
	}
	if r.expectations.isDeletePending(Virtual, key, virtual, grace) {
		return nil
	}
	if err := deleteByUID(s.Context, r.virtual.client, virtual, deleteOptions{grace: grace}); err != nil {
		return fmt.Errorf("cannot delete virtual object %s: %w", key, err)
	}
	r.expectations.recordDelete(Virtual, key, virtual, grace)
	r.onWrite()
	return nil
}

// checkPaused returns an error if the kind is paused.
func (r *reconciler) checkPaused() error {
	if r.paused != nil && r.paused.Load() {
		return &onHoldError{reasonPaused}
	}
	return nil
}

// deleteByUID deletes exactly this object, never a later one of the same name. It is no error
// if the object is gone.
func deleteByUID(ctx context.Context, c client.Client, object client.Object, o deleteOptions) error {
	options := &client.DeleteOptions{
		GracePeriodSeconds: o.grace,
		Preconditions:      &metav1.Preconditions{UID: new(object.GetUID())},
	}
	if o.ifUnchanged {
		options.Preconditions.ResourceVersion = new(object.GetResourceVersion())
	}
	return client.IgnoreNotFound(c.Delete(ctx, newEmpty(object), options))
}

// recordWritten records the object of the response to a write. nil means that nothing was
// sent.
func (r *reconciler) recordWritten(side Side, key types.NamespacedName, written client.Object) {
	if written == nil {
		return
	}
	r.expectations.recordWrite(side, key, written)
	r.onWrite()
}
