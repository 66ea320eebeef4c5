package controlplane

import (
	"context"
	"math"
	"net/http"
	"runtime/debug"
	"runtime/metrics"

	"go.etcd.io/etcd/client/v3/kubernetes"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

const (
	// heapShare is the part of the limit of the garbage collector that may live on
	// the heap before new objects are denied. A start needs more: it decodes all of them.
	heapShare = 0.5
	// allowedGrowth is how many bytes longer an object may get even then. A delete that waits
	// for finalizers writes its time.
	allowedGrowth = 1 << 10
)

// roomyWrites denies new objects while memory is short. Some take a hundred times their size,
// such as definitions of custom resources. Each start reads all of them, so one that ended for
// lack of memory would end again and again. Updates that do not grow and deletes pass.
type roomyWrites struct {
	kubernetes.Interface
	// isShort reports whether memory is short.
	isShort func() bool
}

// OptimisticPut writes a key. It returns a status with code 507 if there is no memory for it.
// What the control plane needs to stay whole passes. Its controllers act for the tenant.
func (w roomyWrites) OptimisticPut(ctx context.Context, key string, value []byte, expectedRevision int64, opts kubernetes.PutOptions,
) (kubernetes.PutResponse, error) {
	if !loopback.SkipsTenantAdmission(ctx) && w.isShort() {
		grows, err := w.grows(ctx, key, value, expectedRevision)
		if err != nil {
			return kubernetes.PutResponse{}, err
		}
		if grows {
			return kubernetes.PutResponse{}, newInsufficientMemory()
		}
	}
	return w.Interface.OptimisticPut(ctx, key, value, expectedRevision, opts)
}

// grows reports whether a write creates an object, or makes one longer. Controllers may update.
func (w roomyWrites) grows(ctx context.Context, key string, value []byte, expectedRevision int64) (bool, error) {
	switch {
	case expectedRevision == 0:
		return true, nil
	case loopback.IsLoopback(ctx), len(value) <= allowedGrowth:
		return false, nil
	}
	stored, err := w.Get(ctx, key, kubernetes.GetOptions{})
	if err != nil {
		return false, err
	}
	return stored.KV == nil || len(value) > len(stored.KV.Value)+allowedGrowth, nil
}

// isMemoryShort reports whether more lives on the heap than a start could hold.
func isMemoryShort() bool {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return false
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return float64(sample[0].Value.Uint64()) > heapShare*float64(limit)
}

// newInsufficientMemory returns the error that a client gets while memory is short.
func newInsufficientMemory() *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInsufficientStorage, Reason: "InsufficientStorage",
		Message: "the objects of this cluster take up most of the memory of its control plane. " +
			"Delete objects, or ask the operator to raise " + memorySetting + ".",
	}}
}
