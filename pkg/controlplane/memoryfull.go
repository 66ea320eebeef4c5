package controlplane

import (
	"context"
	"math"
	"net/http"
	"runtime/debug"
	"runtime/metrics"
	"sync"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	"k8s.io/kubernetes/pkg/apis/flowcontrol"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

const (
	// heapShare is the fraction of GOMEMLIMIT that the live heap may reach before new objects
	// are denied. A start needs more memory, because it decodes all objects.
	heapShare = 0.5
	// allowedGrowth is how many bytes larger updates may make an object even then, all together. Whoever
	// removes a finalizer or a replica adds a field manager.
	allowedGrowth = 1 << 10
	// maxGrowths is how many objects may grow then.
	maxGrowths = 1000
)

// memoryLimitedWrites denies new objects while memory is short. Some objects need a hundred times their
// size in memory, such as CustomResourceDefinitions. As each start reads all objects, a process that
// was killed for lack of memory would be killed at each restart. Deletes, and updates that hardly make an
// object larger, are allowed.
type memoryLimitedWrites struct {
	kubernetes.Interface
	// isShort reports whether memory is short.
	isShort func() bool
	growths *growths
}

// OptimisticPut writes a key. It returns a status with code 507 if memory is short. Essential writes of
// the control plane are always allowed. Creates by its controllers are not, because they act for the
// tenant.
func (w memoryLimitedWrites) OptimisticPut(ctx context.Context, key string, value []byte, expectedRevision int64, opts kubernetes.PutOptions,
) (kubernetes.PutResponse, error) {
	switch {
	case loopback.SkipsTenantAdmission(ctx):
	case !w.isShort():
		w.growths.forget()
	default:
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

// grows reports whether a write creates an object or makes one larger. Updates from within the process
// do not count.
func (w memoryLimitedWrites) grows(ctx context.Context, key string, value []byte, expectedRevision int64) (bool, error) {
	switch {
	case expectedRevision == 0:
		return true, nil
	case loopback.IsLoopback(ctx), isDelete(ctx), len(value) <= allowedGrowth:
		return false, nil
	}
	stored, err := w.Get(ctx, key, kubernetes.GetOptions{})
	if err != nil {
		return false, err
	}
	return stored.KV == nil || !w.growths.allow(key, len(stored.KV.Value), len(value)), nil
}

// isDelete reports whether a write is part of a delete. With finalizers, it adds a deletionTimestamp.
func isDelete(ctx context.Context) bool {
	info, ok := request.RequestInfoFrom(ctx)
	return ok && (info.Verb == "delete" || info.Verb == "deletecollection" || info.Subresource == "eviction")
}

// growths has the sizes of objects before they have grown while memory is short. Without them, an object could grow
// without end in small steps.
type growths struct {
	mu     sync.Mutex
	before map[string]int // key in the store -> bytes
}

// allow reports whether an object may get a size. It may grow by allowedGrowth from its first size, and so may
// maxGrowths objects.
func (g *growths) allow(key string, stored, size int) bool {
	if size <= stored {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	before, ok := g.before[key]
	if !ok {
		before = stored
	}
	before = min(before, stored)
	if size > before+allowedGrowth || !ok && len(g.before) >= maxGrowths {
		return false
	}
	if g.before == nil {
		g.before = map[string]int{}
	}
	g.before[key] = before
	return true
}

// forget lets all objects grow again, once memory is not short.
func (g *growths) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.before = nil
}

// memoryGuard denies changes of objects that expand in memory while memory is short. The size of the object
// does not count. A definition expands when a version is served, and a priority level by its number of queues.
type memoryGuard struct{ isShort func() bool }

var _ admission.ValidationInterface = memoryGuard{}

// Handles implements admission.Interface. Creates are denied by memoryLimitedWrites.
func (memoryGuard) Handles(operation admission.Operation) bool { return operation == admission.Update }

// Validate implements admission.ValidationInterface. What leaves the generation as it is passes, such as the
// end of a finalizer.
func (g memoryGuard) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	switch a.GetResource().Group {
	case apiextensions.GroupName, flowcontrol.GroupName, admissionregistration.GroupName:
	default:
		return nil
	}
	if loopback.IsLoopback(ctx) || !g.isShort() {
		return nil
	}
	object, err := meta.Accessor(a.GetObject())
	if err != nil {
		return err
	}
	old, err := meta.Accessor(a.GetOldObject())
	if err != nil {
		return err
	}
	if object.GetGeneration() == old.GetGeneration() {
		return nil
	}
	return newInsufficientMemory()
}

// isMemoryShort reports whether the live heap is larger than heapShare of the limit.
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
