package syncer

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// pendingLife is how long a host object that was made at admission waits for its
// virtual object. An API server gives up on a request before that.
const pendingLife = time.Minute

// store is what a cache holds of one type on one side. What it returns is
// shared: nobody may change it.
type store interface {
	// Get is the object of that name, nil if there is none.
	Get(key types.NamespacedName) client.Object
	// List is every object.
	List() []client.Object
}

// sideClients is one side as a reconciler sees it.
type sideClients struct {
	// store holds the kind's own objects.
	store store
	// reader is what a Scope offers of this side.
	reader client.Reader
	// client talks to the API server itself, reads included.
	client client.Client
}

// reconciler takes one virtual key of one kind a step nearer to how it should be.
type reconciler struct {
	kind         Kind
	cluster      translate.Cluster
	clock        clock.PassiveClock
	log          logr.Logger
	virtual      sideClients
	host         sideClients
	expectations *expectations
	events       *tenantEvents
	// holdReason is the reason why nothing may be deleted on the host, empty if it may.
	holdReason func() string
	// onWrite is called after each request that changed something.
	onWrite func()
}

// heldError says that a host object stays although it should be deleted.
type onHoldError struct{ reason string }

func (e *onHoldError) Error() string { return "delete held back: " + e.reason }

// foreignError says that a host object bears a name of ours without being ours.
type conflictError struct{ host types.NamespacedName }

func (e *conflictError) Error() string {
	return fmt.Sprintf("host object %s exists and was not made for this object; Sublet leaves it alone", e.host)
}

// refusal is what the host says against a host copy.
type hostRefusal struct{ err error }

func (e *hostRefusal) Error() string { return e.err.Error() }
func (e *hostRefusal) Unwrap() error { return e.err }

// refused marks err as a refusal if it is the host's own decision, which does not
// change by asking again at once.
func asHostRefusal(err error) error {
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsMethodNotSupported(err) || apierrors.IsRequestEntityTooLargeError(err) {
		return &hostRefusal{err}
	}
	return err
}

// reconcile looks at both sides of key and takes the next step. The duration is
// when to look again without any event, 0 for never.
func (r *reconciler) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	var again time.Duration
	s := r.scope(ctx)
	s.again = &again
	var err error
	if r.kind.owner == Virtual {
		err = r.reconcileVirtualOwned(s, key)
	} else {
		err = r.reconcileHostOwned(s, key)
	}
	return again, err
}

// scope is what the functions of the kind may look at.
func (r *reconciler) scope(ctx context.Context) Scope {
	return Scope{
		Context: ctx, Cluster: r.cluster, Now: r.clock.Now(),
		Virtual: r.virtual.reader, Host: r.host.reader,
	}
}

// hostKey is the name of the host copy of key.
func (r *reconciler) hostKey(key types.NamespacedName) types.NamespacedName {
	return r.kind.names(r.cluster, key)
}

// deleteHost deletes a host object that has proven to be ours. exact is set if
// the object must not have changed since it was read.
func (r *reconciler) deleteHost(s Scope, key types.NamespacedName, host client.Object, grace *int64, exact bool) error {
	if reason := r.holdReason(); reason != "" {
		return &onHoldError{reason}
	}
	if r.expectations.isDeletePending(Host, key, host, grace) {
		return nil
	}
	err := deleteByUID(s.Context, r.host.client, host, grace, exact)
	if err != nil {
		return fmt.Errorf("cannot delete host object %s: %w", client.ObjectKeyFromObject(host), err)
	}
	r.expectations.recordDelete(Host, key, host, grace)
	r.onWrite()
	return nil
}

// deleteVirtual deletes a virtual object.
func (r *reconciler) deleteVirtual(s Scope, key types.NamespacedName, virtual client.Object, grace *int64) error {
	if r.expectations.isDeletePending(Virtual, key, virtual, grace) {
		return nil
	}
	if err := deleteByUID(s.Context, r.virtual.client, virtual, grace, false); err != nil {
		return fmt.Errorf("cannot delete virtual object %s: %w", key, err)
	}
	r.expectations.recordDelete(Virtual, key, virtual, grace)
	r.onWrite()
	return nil
}

// remove deletes the very object that was read, not one that took its name.
func deleteByUID(ctx context.Context, c client.Client, object client.Object, grace *int64, exact bool) error {
	uid, version := object.GetUID(), object.GetResourceVersion()
	options := &client.DeleteOptions{
		GracePeriodSeconds: grace,
		Preconditions:      &metav1.Preconditions{UID: &uid},
	}
	if exact {
		options.Preconditions.ResourceVersion = &version
	}
	return client.IgnoreNotFound(c.Delete(ctx, newEmpty(object), options))
}

// live asks the API server itself for an object of the type and the name of like,
// nil if there is none.
func getLive(ctx context.Context, c client.Client, like client.Object, key types.NamespacedName) (client.Object, error) {
	object := newEmpty(like)
	err := c.Get(ctx, key, object)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return object, nil
}

// virtualUID is the UID of the virtual object that a host object was made for.
func virtualUID(host client.Object) types.UID {
	return types.UID(host.GetAnnotations()[labels.VirtualUID])
}

// terminating says that the deletion of an object has begun.
func isTerminating(object client.Object) bool {
	return object != nil && object.GetDeletionTimestamp() != nil
}

// copyOf is a copy of object that a kind's function may keep.
func deepCopy(object client.Object) client.Object {
	return object.DeepCopyObject().(client.Object)
}

// up writes what the host object says into the virtual object.
func (r *reconciler) writeUp(s Scope, key types.NamespacedName, host, virtual client.Object) error {
	if r.kind.up == nil {
		return nil
	}
	after := deepCopy(virtual)
	if err := r.kind.up(r.withRecorder(s, virtual), deepCopy(host), after); err != nil {
		return fmt.Errorf("cannot tell what virtual object %s should be: %w", key, err)
	}
	if r.kind.owner == Host && (r.kind.source == nil || !isCopy(after)) {
		// A copy that several host objects stand behind keeps the mark of the one
		// that it was made from.
		setHostUID(after, host)
	}
	bound, err := bindPod(s.Context, r.virtual.client, virtual, after)
	if bound {
		// The binding has made a new version that only the watch shows. What else
		// there is to write follows then.
		r.expectations.recordNewerWrite(Virtual, key, virtual)
		r.onWrite()
		return nil
	}
	var written client.Object
	if err == nil {
		written, err = writeVirtual(s.Context, r.virtual.client, virtual, after)
	}
	if apierrors.IsNotFound(err) {
		return nil // It is gone, as the watch will say.
	}
	if err != nil {
		return fmt.Errorf("cannot write virtual object %s: %w", key, err)
	}
	if written != nil {
		r.expectations.recordWrite(Virtual, key, written)
		r.onWrite()
	}
	return nil
}

// down writes what the virtual object says into the host object.
func (r *reconciler) writeDown(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	after, err := r.buildHost(s, key, virtual, deepCopy(host))
	if err != nil {
		return err
	}
	written, err := patchHost(s.Context, r.host.client, host, after, false)
	if apierrors.IsNotFound(err) {
		return nil // It is gone, as the watch will say.
	}
	if err != nil {
		return fmt.Errorf("cannot patch host object %s: %w", client.ObjectKeyFromObject(host), asHostRefusal(err))
	}
	if written != nil {
		r.expectations.recordWrite(Host, key, written)
		r.onWrite()
	}
	return nil
}

// wantedHost fills in a host object for a virtual one. The identity of a host
// object that the virtual side owns is the engine's own matter: whatever Down
// does to it, it stays.
func (r *reconciler) buildHost(s Scope, key types.NamespacedName, virtual, host client.Object) (client.Object, error) {
	owners := host.GetOwnerReferences()
	if r.kind.down != nil {
		if err := r.kind.down(s, deepCopy(virtual), host); err != nil {
			return nil, fmt.Errorf("cannot tell what the host copy of %s should be: %w", key, err)
		}
	}
	if r.kind.owner == Virtual {
		translate.Stamp(r.cluster, r.kind.names, key, virtual.GetUID(), host)
		if host.GetUID() != "" {
			host.SetOwnerReferences(owners)
		}
	}
	return host, nil
}
