package syncer

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// Reasons of the Events that the engine records.
const (
	// reasonVirtualRefused is for a write to a virtual object that the virtual API
	// server refused.
	reasonVirtualRefused = "VirtualRefused"
	// reasonVirtualChanged is for a write that the virtual API server alters.
	reasonVirtualChanged = "VirtualChanged"
	// reasonHostFailed is for a write to the host that fails again and again without a refusal. Mostly a
	// webhook of the host does not answer.
	reasonHostFailed = "HostFailed"
	// reasonWaitingForDeletion is for an object whose predecessor still has a host copy.
	reasonWaitingForDeletion = "WaitingForDeletion"
)

// alteredMessage is the message of the Event with reasonVirtualChanged.
const alteredMessage = "What the host shows of this object is changed whenever it is written here, by a webhook or a policy of this cluster. " +
	"It is written less often until that ends."

// failedMessage begins the message of the Event with reasonHostFailed.
const failedMessage = "The host cluster fails to write its copy of this object, which is tried again: "

// reasonPaused is why nothing is deleted while a kind is paused.
const reasonPaused = "the kind is paused"

// onHoldError is returned for a write that is not sent for now, mostly a delete.
type onHoldError struct{ reason string }

func (e *onHoldError) Error() string { return "delete on hold: " + e.reason }

// errDeferred is returned for a copy that the host has refused and whose retry is not due.
var errDeferred = errors.New("the retry of a refused copy is not due")

// conflictError is returned for a host object under a name of ours that is not ours.
type conflictError struct{ host types.NamespacedName }

func (e *conflictError) Error() string {
	return fmt.Sprintf("host object %s exists and was not created for this object; Sublet does not touch it", e.host)
}

// TenantMessage returns a text without names of the host.
func (e *conflictError) TenantMessage() string {
	return "an object of the host cluster has the name that the copy needs"
}

// hostRefusal is an error with which the host rejects a host copy.
type hostRefusal struct{ err error } //nolint:errname // The glossary's name for it.

func (e *hostRefusal) Error() string { return e.err.Error() }
func (e *hostRefusal) Unwrap() error { return e.err }

// subresourceError is returned for a write to a subresource that the API server does not have.
type subresourceError struct {
	side        Side
	object      types.NamespacedName
	subresource string
}

func (e *subresourceError) Error() string {
	return fmt.Sprintf("the %s API server has no subresource %s for %s", e.side, e.subresource, e.object)
}

// resizeError is an error with which the host rejects the resize of a pod.
type resizeError struct{ err error }

func (e *resizeError) Error() string { return e.err.Error() }
func (e *resizeError) Unwrap() error { return e.err }

// asHostRefusal returns err as a [hostRefusal] if the host has rejected the object itself, so that
// repeating the request at once would not help.
func asHostRefusal(err error) error {
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsMethodNotSupported(err) || isTooLarge(err) {
		return &hostRefusal{err}
	}
	if _, missing := errors.AsType[*subresourceError](err); missing {
		return &hostRefusal{err}
	}
	return err
}

// isTooLarge reports whether an API server rejected an object for its size. The limit
// of the store itself, or of the API server's client for it, comes back as an internal error.
func isTooLarge(err error) bool {
	var status apierrors.APIStatus
	if apierrors.IsRequestEntityTooLargeError(err) {
		return true
	}
	return errors.As(err, &status) && (strings.Contains(status.Status().Message, "request is too large") ||
		strings.Contains(status.Status().Message, "message larger than max"))
}

// isRefusedWrite reports whether the virtual API server rejected a write. Conflicts, missing
// objects and unavailable servers do not count.
func isRefusedWrite(err error) bool {
	if err == nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) {
		return false
	}
	if _, missing := errors.AsType[*subresourceError](err); missing {
		return true
	}
	var status apierrors.APIStatus
	return errors.As(err, &status)
}

// recordRefusal records an Event on the virtual object if err is a refusal, or a failure of the host that
// lasts. So the tenant learns why the host copy is missing or outdated. It returns err.
func (r *reconciler) recordRefusal(s Scope, virtual client.Object, key types.NamespacedName, err error) error {
	switch {
	case isRefused(err):
		r.events.recordHostRefusal(s.Context, r.kind.name, virtual, r.hostKey(key), err)
	case isAnswer(err) && r.failures != nil && isReported(r.failures(key)):
		message := r.events.toVirtualNames(failedMessage+err.Error(), key, r.hostKey(key))
		r.events.record(s.Context, r.kind.name, virtual, tenantEvent{corev1.EventTypeWarning, reasonHostFailed, message})
	}
	return err
}

// isAnswer reports whether an API server has sent the error.
func isAnswer(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status)
}

// recordVirtualRefusal records an Event on the virtual object if its API server
// refused a write of the engine. It returns err.
func (r *reconciler) recordVirtualRefusal(s Scope, virtual client.Object, err error) error {
	if isRefusedWrite(err) {
		r.events.record(s.Context, r.kind.name, virtual, tenantEvent{corev1.EventTypeWarning, reasonVirtualRefused, err.Error()})
	}
	return err
}

// reportConflict records an Event on the virtual object if it needs a host copy and an object of
// others has that name.
func (r *reconciler) reportConflict(s Scope, key types.NamespacedName, virtual client.Object, hostKey types.NamespacedName) error {
	if virtual == nil {
		return nil
	}
	s, err := r.load(s, virtual, nil)
	if err != nil {
		return err
	}
	wanted, err := r.kind.want(s, virtual, nil)
	if err != nil || !wanted {
		return err
	}
	return r.recordRefusal(s, virtual, key, &conflictError{hostKey})
}

// writeRefusal shows a refusal in the virtual object, for kinds with [Resource.Refused].
func (r *reconciler) writeRefusal(s Scope, key types.NamespacedName, virtual client.Object, err error) error {
	var byHost *hostRefusal
	var unsupported *translate.UnsupportedError
	if r.kind.refused == nil || !errors.As(err, &byHost) && !errors.As(err, &unsupported) {
		return nil
	}
	after := deepCopy(virtual)
	r.kind.refused(s, after, r.events.toVirtualNames(err.Error(), key, r.hostKey(key)))
	return r.writeVirtual(s, key, nil, virtual, after)
}

// writeRefusedResize shows in the virtual object that the host has refused to resize its copy, for
// kinds with [Resource.RefusedResize]. After another write to the virtual object in the same reconcile,
// the next one does it: the watch shows that write.
func (r *reconciler) writeRefusedResize(s Scope, key types.NamespacedName, virtual, host client.Object, err error) error {
	resize, ok := errors.AsType[*resizeError](err)
	if !ok || r.kind.refusedResize == nil || r.expectations.isStale(Virtual, key, virtual) {
		return nil
	}
	after := deepCopy(virtual)
	r.kind.refusedResize(s, after, deepCopy(host), r.events.toVirtualNames(resize.Error(), key, r.hostKey(key)))
	return r.writeVirtual(s, key, host, virtual, after)
}

// withRecorder returns s with a recorder of Events on virtual, for Up.
func (r *reconciler) withRecorder(s Scope, virtual client.Object) Scope {
	s.recordEvent = func(reason, message string) {
		r.events.record(s.Context, r.kind.name, virtual, tenantEvent{corev1.EventTypeWarning, reason, message})
	}
	return s
}
