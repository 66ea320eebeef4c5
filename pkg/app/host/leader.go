package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

// ErrNotLeading is returned when a leader part must not write, because another replica leads.
var ErrNotLeading = errors.New("another replica leads the virtual cluster")

// leadership is the state of the current term of a replica.
type leadership struct {
	// leads is true during a term.
	leads bool
	// epoch is the epoch of the record that the term has written, 0 before.
	epoch int64
	// shared is closed when other replicas may use the store, so that the term needs a record.
	shared chan struct{}
	// lost is closed when a successor has written a record.
	lost chan struct{}
}

// Share allows other replicas to use the same store. From then on, the record on the anchor
// names the leader, and a successor only ends a term. That is permanent.
func (h *Holder) Share() {
	h.mu.Lock()
	if !h.shared {
		h.shared = true
		if h.term.leads {
			close(h.term.shared)
			if h.proven {
				h.term.epoch = h.record.Epoch
			}
		}
	}
	h.mu.Unlock()
	h.notify()
}

// SetLease sets the function that reports whether this replica holds the leader's lease. It must
// be called once, before the first term.
func (h *Holder) SetLease(holds func() bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds = holds
}

// MayLead returns an error if the leader parts of this replica must not write to the host now.
func (h *Holder) MayLead() error {
	if err := h.MayWrite(); err != nil {
		return err
	}
	h.mu.Lock()
	shared, term := h.shared, h.term
	h.mu.Unlock()
	switch {
	case !shared:
		return nil
	case !term.leads || !h.holdsLease():
		return ErrNotLeading
	case term.epoch == 0:
		return ErrNotProven
	}
	return nil
}

// Term returns the pod and the epoch of the current term, as POD/EPOCH.
func (h *Holder) Term() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprintf("%s/%d", h.identity.Pod, cmp.Or(h.term.epoch, h.record.Epoch))
}

// holdsLease reports whether this replica has the lease of the leader.
func (h *Holder) holdsLease() bool {
	h.mu.Lock()
	holds := h.holds
	h.mu.Unlock()
	return holds != nil && holds()
}

// Lead runs one leader term of this replica. With a shared store, it writes the record of the
// term to the anchor. Until then, [Holder.MayLead] fails. Lead returns [ErrNotLeading] when a
// successor has written its record, and nil when ctx ends.
func (h *Holder) Lead(ctx context.Context) error {
	term := h.beginTerm()
	defer h.endTerm()
	backoff, shared := newBackoff(), term.shared
	for {
		var retry <-chan time.Time
		if err := h.claimTerm(ctx); err != nil && ctx.Err() == nil {
			klog.V(2).InfoS("Cannot write the record of the leader, retrying", "err", err)
			retry = h.clock.After(backoff.Step())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-term.lost:
			return ErrNotLeading
		case <-shared:
			shared = nil
		case <-retry:
		}
	}
}

// beginTerm begins a term.
func (h *Holder) beginTerm() leadership {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.term = leadership{leads: true, shared: make(chan struct{}), lost: make(chan struct{})}
	return h.term
}

func (h *Holder) endTerm() {
	h.mu.Lock()
	h.term = leadership{}
	h.mu.Unlock()
	h.notify()
}

// claimTerm writes the record of the current term, unless the store is not shared. It checks
// that this replica still holds the lease, because one that was suspended may have a successor.
func (h *Holder) claimTerm(ctx context.Context) error {
	if h.isTermProven() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	anchor, err := h.client.CoreV1().ConfigMaps(h.release.Namespace).Get(ctx, h.release.Anchor(), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("cannot get host ConfigMap %s/%s: %w", h.release.Namespace, h.release.Anchor(), err)
	}
	if err := h.checkPod(ctx, anchor); err != nil {
		return err
	}
	if !h.holdsLease() {
		return ErrNotLeading
	}
	next, written, err := h.writeRecord(ctx, anchor)
	if err != nil {
		return err
	}
	klog.InfoS("Recorded the term of this leader on the anchor", "pod", next.Pod, "epoch", next.Epoch)
	h.mu.Lock()
	h.record, h.anchor = next, h.release.AnchorOwner(written.UID)
	h.proven, h.lastError = true, ""
	if h.term.leads {
		h.term.epoch = next.Epoch
	}
	h.mu.Unlock()
	h.notify()
	return nil
}

// isTermProven reports whether the record of the current term is written or not needed.
func (h *Holder) isTermProven() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.shared || h.term.epoch > 0
}

// observeShared compares the anchor with the record of the current term, if there is one. As the
// host responds, this replica may send host-first writes.
func (h *Holder) observeShared(anchor *corev1.ConfigMap) {
	seen := recordOf(anchor)
	h.mu.Lock()
	defer h.notify()
	defer h.mu.Unlock()
	h.proven, h.confirmed, h.lastError = true, true, ""
	h.anchor = h.release.AnchorOwner(anchor.UID)
	if h.term.epoch == 0 || seen.Epoch <= h.term.epoch {
		return
	}
	klog.InfoS("Another replica leads this virtual cluster", "pod", seen.Pod, "epoch", seen.Epoch)
	close(h.term.lost)
	h.term = leadership{}
}

// enter makes this replica the holder, or one of several replicas if the store is shared.
func (h *Holder) enter(ctx context.Context, anchor *corev1.ConfigMap, shared bool) error {
	h.mu.Lock()
	h.shared = shared
	h.mu.Unlock()
	if shared {
		return h.join(ctx, anchor)
	}
	return h.claim(ctx, anchor)
}

// join makes this replica one of several that share a store. It needs no permission of another
// replica: the store names the anchor, and the pod exists on the host, as a part of this release.
func (h *Holder) join(ctx context.Context, anchor *corev1.ConfigMap) error {
	if h.MayWrite() != nil || h.isOtherAnchor(anchor) {
		if err := h.checkPod(ctx, anchor); err != nil {
			return err
		}
	}
	h.observeShared(anchor)
	return nil
}
