package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/api/syncz"
)

// ErrSuperseded is the error of [Holder.Run] when another replica has become the
// holder. This replica must not serve any more.
var ErrSuperseded = errors.New("another replica serves this virtual cluster")

// ErrNotProven is why a write to the host has to wait.
var ErrNotProven = errors.New("the host has not confirmed that this replica serves the virtual cluster")

// StandbyError is the reason why a replica must not serve now. It waits and asks
// again.
type StandbyError struct {
	// Reason is the obstacle and what to do about it. It is for operators.
	Reason string
}

func (e *StandbyError) Error() string { return e.Reason }

// Holder proves that this replica may serve the virtual cluster and write to the host.
//
// A replica with a store of its own must be the only one. The proof is a record on the anchor: the holder's pod, its
// UID and an epoch. Each successor writes a higher epoch, and every replica watches
// the anchor. There are no renewals.
//
// The holder is a pod, not a moment in time: a replica that cannot reach the host
// stays the holder until it sees a successor. It cannot write to the host then, and
// must prove itself again before it does.
//
// Of several replicas on one store, each belongs to the virtual cluster, as the store names
// its anchor. The record then names the leader, and each term has an epoch. An older leader
// sees its successor on the anchor.
type Holder struct {
	client   kubernetes.Interface
	release  release.Release
	identity Identity
	clock    clock.Clock

	mu sync.Mutex
	// shared is true if several replicas use one store, which elects their leader.
	shared bool
	// term is the current term of this replica.
	term leadership
	// holds reports whether this replica has the lease of the leader.
	holds func() bool
	// record is the one that this replica wrote or found.
	record Record
	// proven is true while the host is known to name this replica. For one of several, it
	// is true while the host responds.
	proven bool
	// superseded is the reason why this replica has lost the host, for good.
	superseded string
	// lastError is why the host could not be asked, empty if it could.
	lastError string
	// anchor is the owner of what this replica creates. It changes when the
	// anchor is created again.
	anchor metav1.OwnerReference
	// onChange are called when MayWrite or AnchorOwner has changed.
	onChange []func()
}

// MayWrite returns why this replica must not write to the host now, nil if it may.
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

// AnchorOwner returns the reference to the anchor as it is now.
func (h *Holder) AnchorOwner() metav1.OwnerReference {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.anchor
}

// Record returns the record of this replica.
func (h *Holder) Record() Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.record
}

// OnChange calls f whenever MayWrite or AnchorOwner may return something else.
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

// Run watches the anchor until ctx ends. It returns [ErrSuperseded] as soon as
// the anchor names another replica; MayWrite is false before that.
func (h *Holder) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	anchors := &singleWatch[*corev1.ConfigMap]{
		reader: h.client.CoreV1().ConfigMaps(h.release.Namespace), name: h.release.Anchor(), clock: h.clock,
		changed: func(anchor *corev1.ConfigMap) error {
			err := h.observe(ctx, anchor)
			if errors.Is(err, ErrSuperseded) {
				cancel(err)
			}
			return err
		},
		failed: h.recordFailure,
	}
	anchors.run(ctx)
	if err := context.Cause(ctx); errors.Is(err, ErrSuperseded) {
		return err
	}
	return nil
}

// recordFailure notes that the host could not be asked. Until it can, nobody
// knows whether there is a successor.
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

// observe compares the anchor with the record of this replica. It claims an
// anchor that names nobody, or an earlier pod of the same name.
func (h *Holder) observe(ctx context.Context, anchor *corev1.ConfigMap) error {
	if anchor == nil {
		klog.InfoS("The anchor does not exist; run helm upgrade to create it again", "anchor", h.release.Anchor())
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

// confirm notes that the host names this replica.
func (h *Holder) confirm(anchor *corev1.ConfigMap, record Record) {
	h.mu.Lock()
	changed := !h.proven || h.anchor.UID != anchor.UID
	h.proven, h.lastError, h.record = true, "", record
	h.anchor = h.release.AnchorOwner(anchor.UID)
	h.mu.Unlock()
	if changed {
		h.notify()
	}
}

// supersede fences this replica for good.
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

// claim makes this replica the holder, if it may be. It writes its record to the
// anchor unless the anchor has it already. A *StandbyError names the holder.
func (h *Holder) claim(ctx context.Context, anchor *corev1.ConfigMap) error {
	seen := recordOf(anchor)
	if err := h.checkPod(ctx); err != nil {
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

// writeRecord writes a record of this replica with the next epoch, bound to the version of
// the anchor.
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

// mayFollow returns nil if this replica may be the next holder after seen. The
// first holder is the pod with the ordinal 0, and its successors have its name.
func (h *Holder) mayFollow(seen Record) error {
	holder := seen.Pod
	if seen.Epoch == 0 || holder == "" {
		holder = h.release.Pod(0)
	}
	if holder != h.identity.Pod {
		return &StandbyError{fmt.Sprintf("pod %s serves this virtual cluster, and the store of pod %s is not its store; "+
			"scale StatefulSet %s back to 1 replica", holder, h.identity.Pod, h.release.StatefulSet())}
	}
	if reason := h.lost(); reason != "" {
		return &StandbyError{reason}
	}
	return nil
}

// lost returns why this replica was superseded, empty if it was not.
func (h *Holder) lost() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.superseded
}

// checkPod returns nil if the host has the pod that this process runs in. A pod
// that was deleted by force may run on, but its name is free or taken.
func (h *Holder) checkPod(ctx context.Context) error {
	if !h.identity.InPod {
		return nil
	}
	pod, err := h.client.CoreV1().Pods(h.release.Namespace).Get(ctx, h.identity.Pod, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && string(pod.UID) != h.identity.UID {
		return &StandbyError{fmt.Sprintf("pod %s with UID %s does not exist on the host any more: it was deleted while it ran",
			h.identity.Pod, h.identity.UID)}
	}
	if err != nil {
		return fmt.Errorf("cannot get host Pod %s/%s: %w", h.release.Namespace, h.identity.Pod, err)
	}
	return nil
}

// acceptKept returns nil if the store belongs to this anchor, or if the operator
// has accepted it. The store of another anchor may be another tenant's.
func acceptKept(r release.Release, known *Facts, anchor *corev1.ConfigMap) error {
	if known.Anchor.UID == anchor.UID {
		return nil
	}
	word := known.Store
	if word == "" {
		word = string(known.Anchor.UID)
	}
	if accepted := anchor.Annotations[labels.AcceptStore]; accepted != "" && (accepted == known.Store || accepted == string(known.Anchor.UID)) {
		return nil
	}
	return &StandbyError{fmt.Sprintf("the volume has the store of an earlier release with another anchor; it may be another tenant's. "+
		"To serve it: kubectl -n %s annotate configmap %s %s=%s. To start empty: delete claim %s and its pod",
		r.Namespace, r.Anchor(), labels.AcceptStore, word, r.Claim(0))}
}
