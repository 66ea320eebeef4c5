package syncer

import (
	"maps"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxUnstored is how many host copies of a kind may wait for virtual objects that are not
// stored. A tenant whose store refuses every object could otherwise take addresses and
// node ports of the host without limit.
const maxUnstored = 50

// unstoredCopies has the host copies that were created before their virtual objects, until a
// reconcile sees the virtual object or deletes the copy. The zero value is empty.
type unstoredCopies struct {
	// isStored reports whether the virtual object is in the cache. It is needed because an engine
	// on standby does not reconcile. nil means that no object is.
	isStored func(key types.NamespacedName) bool

	mu    sync.Mutex
	since map[types.NamespacedName]time.Time // virtual key -> when its copy was created
}

// add records that a host copy is about to be created for a virtual object. It returns an
// error if too many wait already.
func (u *unstoredCopies) add(key types.NamespacedName, now time.Time) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, found := u.since[key]; !found && len(u.since) >= maxUnstored {
		maps.DeleteFunc(u.since, func(key types.NamespacedName, since time.Time) bool {
			// After that time, somebody else has deleted the copy.
			return now.Sub(since) > 2*pendingLife || u.isStored != nil && u.isStored(key)
		})
		if len(u.since) >= maxUnstored {
			return &tooManyUnstoredError{}
		}
	}
	if u.since == nil {
		u.since = map[types.NamespacedName]time.Time{}
	}
	u.since[key] = now
	return nil
}

// forget records that the virtual object exists, or that the copy does not.
func (u *unstoredCopies) forget(key types.NamespacedName) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.since, key)
}

// tooManyUnstoredError is returned while too many host copies wait for their virtual
// objects. Clients send the request again.
type tooManyUnstoredError struct{}

// Error implements error.
func (e *tooManyUnstoredError) Error() string {
	return "too many host copies wait for virtual objects that are not stored"
}

// TenantMessage returns a text without names of the host.
func (e *tooManyUnstoredError) TenantMessage() string {
	return "too many objects of this kind were just created on the host and could not be stored here"
}

// Status implements apierrors.APIStatus.
func (e *tooManyUnstoredError) Status() metav1.Status {
	return metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable,
		Message: e.Error(), Details: &metav1.StatusDetails{RetryAfterSeconds: 1},
	}
}
