package controlplane

import (
	"context"
	"errors"
	"net/http"

	"go.etcd.io/etcd/client/v3/kubernetes"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/storage"
)

const (
	quotaSetting  = "controlPlane.backingStore.etcd.embedded.quota"
	volumeSetting = "controlPlane.statefulSet.persistence.volumeClaim.size"
	memorySetting = "controlPlane.statefulSet.resources.limits.memory"
)

// statusWrites converts the errors of a store that is full, or has lost its leader, to API errors.
// Otherwise clients would get an internal error.
type statusWrites struct{ kubernetes.Interface }

// OptimisticPut writes a key. It returns a status with code 507 if the store is
// too full for it, and 504 if the outcome is unknown.
func (w statusWrites) OptimisticPut(ctx context.Context, key string, value []byte, expectedRevision int64, opts kubernetes.PutOptions,
) (kubernetes.PutResponse, error) {
	response, err := w.Interface.OptimisticPut(ctx, key, value, expectedRevision, opts)
	if full, ok := errors.AsType[*storage.FullError](err); ok {
		err = newInsufficientStorage(full)
	}
	return response, asTimeout(err)
}

// OptimisticDelete deletes a key. It returns a status with code 504 if the outcome is unknown.
func (w statusWrites) OptimisticDelete(ctx context.Context, key string, expectedRevision int64, opts kubernetes.DeleteOptions,
) (kubernetes.DeleteResponse, error) {
	response, err := w.Interface.OptimisticDelete(ctx, key, expectedRevision, opts)
	return response, asTimeout(err)
}

// asTimeout returns a timeout error if a write may have taken effect. It has no Retry-After, because a
// client must not repeat such a write automatically.
func asTimeout(err error) error {
	if !errors.Is(err, storage.ErrLeaderLost) {
		return err
	}
	return apierrors.NewTimeoutError(err.Error()+". Read the object before you try again", 0)
}

// newInsufficientStorage returns the error that a client gets from a full store.
func newInsufficientStorage(full *storage.FullError) *apierrors.StatusError {
	message := full.Error() + ". Delete objects, or ask the operator to raise "
	if full.Volume {
		message += volumeSetting + "."
	} else {
		message += quotaSetting + ". Its default follows " + memorySetting + " and " + volumeSetting + "."
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusInsufficientStorage,
		Reason:  "InsufficientStorage",
		Message: message,
	}}
}
