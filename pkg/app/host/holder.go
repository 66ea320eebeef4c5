package host

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/api/syncz"
)

// ErrSuperseded is returned by [Holder.Run] when another replica has become the holder. This
// replica must stop serving.
var ErrSuperseded = errors.New("another replica serves this virtual cluster")

// ErrNotProven is returned while writes to the host must wait.
var ErrNotProven = errors.New("the host has not confirmed that this replica serves the virtual cluster")

// StandbyError is returned while this replica must not serve. The replica waits and tries again.
type StandbyError struct {
	// Reason is a message for operators: the obstacle and what to do about it.
	Reason string
}

func (e *StandbyError) Error() string { return e.Reason }

// Holder proves that this replica may serve the virtual cluster and write to the host.
//
// A replica with a store of its own must be the only one. The proof is a record on the anchor:
// the holder's pod, its UID and an epoch. Each successor writes a higher epoch, and every
// replica watches the anchor. There are no renewals.
//
// The record does not expire. A replica that cannot reach the host stays the holder until it
// sees a successor. It cannot write to the host meanwhile, and must prove itself again before it
// does.
//
// If several replicas share a store, all of them may serve, because the store names its anchor.
// The record then names the leader, and each term has an epoch. A former leader sees its
// successor on the anchor.
type Holder struct {
	client   kubernetes.Interface
	release  release.Release
	identity Identity
	clock    clock.Clock

	mu sync.Mutex
	// shared is true if several replicas share the store and elect a leader by a lease in it.
	shared bool
	// term is the current term of this replica.
	term leadership
	// holds reports whether this replica holds the leader's lease.
	holds func() bool
	// record is the last record that this replica wrote or confirmed.
	record Record
	// proven is true while the watch shows that the host names this replica. With a shared
	// store, it is true while the host responds.
	proven bool
	// superseded is the reason why another replica has taken over. It is never reset.
	superseded string
	// lastError is the error of the last request to the host, empty if it succeeded.
	lastError string
	// confirmed is true once the host has named this replica, or let it share the store.
	confirmed bool
	// anchor is the owner reference for objects that this replica creates. It changes when the
	// anchor is created again.
	anchor metav1.OwnerReference
	// onChange are called when MayWrite or AnchorOwner has changed.
	onChange []func()
}

// MayWrite returns an error if this replica must not write to the host now.
func (h *Holder) MayWrite() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.superseded != "":
		return ErrSuperseded
	case !h.proven:
		return ErrNotProven
	}
	return nil
}

// AnchorOwner returns the current owner reference to the anchor.
func (h *Holder) AnchorOwner() metav1.OwnerReference {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.anchor
}

// Record returns the last record of this replica.
func (h *Holder) Record() Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.record
}

// OnChange registers f, which is called whenever MayWrite or AnchorOwner may have changed.
func (h *Holder) OnChange(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onChange = append(h.onChange, f)
}

// Checks returns the health of the claim on the host.
func (h *Holder) Checks() []syncz.Check {
	h.mu.Lock()
	defer h.mu.Unlock()
	check := syncz.Check{Name: "holder", Healthy: true, Message: "This replica serves the virtual cluster."}
	if h.shared {
		check.Message = "This replica serves the virtual cluster, another one leads."
		if h.term.leads {
			check.Message = "This replica serves the virtual cluster and leads."
		}
	}
	switch {
	case h.superseded != "":
		check.Healthy, check.Message = false, "Another replica serves the virtual cluster."
		check.Details = []string{h.superseded}
	case !h.proven || h.shared && h.term.leads && h.term.epoch == 0:
		check.Healthy, check.Message = false, "Writes to the host wait until the host confirms this replica."
		check.Details = []string{h.lastError}
	}
	return []syncz.Check{check}
}

// Run watches the anchor until ctx ends. It returns [ErrSuperseded] as soon as the anchor names
// another replica, and another error if this one must start again. MayWrite fails before Run returns.
func (h *Holder) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	anchors := &singleWatch[*corev1.ConfigMap]{
		reader: h.client.CoreV1().ConfigMaps(h.release.Namespace), name: h.release.Anchor(), clock: h.clock,
		changed: func(anchor *corev1.ConfigMap) error {
			err := h.observe(ctx, anchor)
			if isFinal(err) {
				cancel(err)
			}
			return err
		},
		failed: h.recordFailure,
	}
	anchors.run(ctx)
	if err := context.Cause(ctx); isFinal(err) {
		return err
	}
	return nil
}

// isFinal reports whether the process must not serve any more after an error.
func isFinal(err error) bool { return errors.Is(err, ErrSuperseded) || errors.Is(err, errOtherAnchor) }

// recordFailure records that the anchor could not be watched. Writes wait until it can, because
// there may be a successor.
func (h *Holder) recordFailure(err error) {
	h.mu.Lock()
	wasProven := h.proven
	h.lastError = ""
	if err != nil {
		h.proven, h.lastError = false, err.Error()
	}
	h.mu.Unlock()
	if wasProven && err != nil {
		klog.InfoS("Cannot watch the anchor, writes to the host wait", "anchor", h.release.Anchor(), "err", err)
		h.notify()
	}
}

// observe compares the anchor with the record of this replica. If the anchor names nobody, or an
// earlier pod of the same name, it claims the anchor.
//
// Without an anchor, writes wait: the host's garbage collector deletes whatever is created for it.
func (h *Holder) observe(ctx context.Context, anchor *corev1.ConfigMap) error {
	if anchor == nil {
		h.recordFailure(fmt.Errorf("ConfigMap %s/%s does not exist; run helm upgrade to create it again", h.release.Namespace, h.release.Anchor()))
		return nil
	}
	if h.isShared() {
		return h.join(ctx, anchor)
	}
	seen, ours := recordOf(anchor), h.Record()
	if !seen.isOf(h.identity) {
		if seen.Epoch > ours.Epoch && h.MayWrite() == nil {
			return h.supersede(fmt.Sprintf("pod %s (UID %s) became the holder with epoch %d", seen.Pod, seen.UID, seen.Epoch))
		}
		err := h.claim(ctx, anchor)
		if reason, ok := asStandby(err); ok {
			return h.supersede(reason)
		}
		return err
	}
	h.confirm(anchor, seen)
	return nil
}

func (h *Holder) isShared() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.shared
}

// confirm records that the host names this replica as the holder.
func (h *Holder) confirm(anchor *corev1.ConfigMap, record Record) {
	h.mu.Lock()
	changed := !h.proven || h.anchor.UID != anchor.UID
	h.proven, h.confirmed, h.lastError, h.record = true, true, "", record
	h.anchor = h.release.AnchorOwner(anchor.UID)
	h.mu.Unlock()
	if changed {
		h.notify()
	}
}

// supersede fences this replica permanently.
func (h *Holder) supersede(reason string) error {
	h.mu.Lock()
	h.proven, h.superseded = false, reason
	h.mu.Unlock()
	klog.InfoS("Another replica serves this virtual cluster, stopping", "reason", reason)
	h.notify()
	return fmt.Errorf("%w: %s", ErrSuperseded, reason)
}

func (h *Holder) notify() {
	h.mu.Lock()
	calls := append([]func(){}, h.onChange...)
	h.mu.Unlock()
	for _, call := range calls {
		call()
	}
}

// claim makes this replica the holder if that is allowed, and writes its record to the anchor if
// needed. It returns a *StandbyError if another replica is the holder.
func (h *Holder) claim(ctx context.Context, anchor *corev1.ConfigMap) error {
	seen := recordOf(anchor)
	if err := h.checkPod(ctx, anchor); err != nil {
		return err
	}
	if seen.isOf(h.identity) {
		h.confirm(anchor, seen)
		return nil
	}
	if err := h.mayFollow(seen); err != nil {
		return err
	}
	next, written, err := h.writeRecord(ctx, anchor)
	if err != nil {
		return err
	}
	klog.V(2).InfoS("Became the holder", "pod", next.Pod, "epoch", next.Epoch)
	h.confirm(written, next)
	return nil
}

// writeRecord writes a record of this replica with the next epoch. The write fails if the anchor
// has changed.
func (h *Holder) writeRecord(ctx context.Context, anchor *corev1.ConfigMap) (next Record, written *corev1.ConfigMap, err error) {
	seen, ours := recordOf(anchor), h.Record()
	next = Record{Pod: h.identity.Pod, UID: h.identity.UID, Epoch: max(seen.Epoch, ours.Epoch) + 1}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": anchor.UID, "resourceVersion": anchor.ResourceVersion, "annotations": next.annotations(),
	}})
	if err != nil {
		return Record{}, nil, fmt.Errorf("cannot encode the record of the holder: %w", err)
	}
	written, err = h.client.CoreV1().ConfigMaps(h.release.Namespace).
		Patch(ctx, h.release.Anchor(), types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return Record{}, nil, fmt.Errorf("cannot patch host ConfigMap %s/%s: %w", h.release.Namespace, h.release.Anchor(), err)
	}
	return next, written, nil
}

// mayFollow returns nil if this replica may become the holder after seen. The first holder is
// the pod with ordinal 0, and each successor has the same pod name.
func (h *Holder) mayFollow(seen Record) error {
	holder := seen.Pod
	if seen.Epoch == 0 || holder == "" {
		holder = h.release.Pod(0)
	}
	if holder != h.identity.Pod {
		return &StandbyError{fmt.Sprintf("pod %s serves this virtual cluster, and the store of pod %s is not its store; "+
			"scale StatefulSet %s back to 1 replica", holder, h.identity.Pod, h.release.StatefulSet())}
	}
	if reason := h.supersededReason(); reason != "" {
		return &StandbyError{reason}
	}
	return nil
}

// supersededReason returns why this replica was superseded, empty if it was not.
func (h *Holder) supersededReason() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.superseded
}

// acceptKept returns nil if the store on the volume belongs to this anchor, or if the operator
// has accepted it. A store of another anchor may belong to another tenant.
func acceptKept(r release.Release, known *Facts, anchor *corev1.ConfigMap) error {
	if known.Anchor.UID == anchor.UID {
		return nil
	}
	word := cmp.Or(known.Store, string(known.Anchor.UID))
	if accepted := anchor.Annotations[labels.AcceptStore]; accepted != "" && (accepted == known.Store || accepted == string(known.Anchor.UID)) {
		return nil
	}
	return &StandbyError{fmt.Sprintf("the volume has the store of an earlier release with another anchor; it may be another tenant's. "+
		"To serve it: kubectl -n %s annotate configmap %s %s=%s. To start empty: delete claim %s and its pod",
		r.Namespace, r.Anchor(), labels.AcceptStore, word, r.Claim(0))}
}
