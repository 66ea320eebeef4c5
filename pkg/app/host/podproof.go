package host

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// checkPod returns nil if the pod of this process exists on the host and is a part of the release with
// that anchor. A force-deleted pod may still run, but its name is then free or belongs to another pod.
func (h *Holder) checkPod(ctx context.Context, anchor *corev1.ConfigMap) error {
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
	if !h.isOtherAnchor(anchor) {
		return nil
	}
	return h.checkRelease(ctx, pod)
}

// isOtherAnchor reports whether an anchor is not the one that this replica has seen before.
func (h *Holder) isOtherAnchor(anchor *corev1.ConfigMap) bool {
	known := h.AnchorOwner().UID
	return known != "" && known != anchor.UID
}

// isConfirmed reports whether the host has ever named this replica.
func (h *Holder) isConfirmed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.confirmed
}

// errOtherAnchor is returned if a replica has started without the host, for another anchor than the host has.
// [Holder.Run] returns it, and the process starts again: only a start compares the store with the anchor.
var errOtherAnchor = errors.New("the anchor is another one than in the last run, so that this replica must start again")

// checkRelease returns nil if the pod of this process is a part of the present release, and so is its
// store. The anchor then is the same one, which "helm upgrade" has created again. If the release was
// installed again under its name, a pod of the earlier one may still run. It would give the new release its
// keys. The store of a replica that has started without the host may be of an earlier release too.
func (h *Holder) checkRelease(ctx context.Context, pod *corev1.Pod) error {
	earlier := &StandbyError{fmt.Sprintf("pod %s is of an earlier release with the name %s", pod.Name, h.release.Name)}
	if pod.DeletionTimestamp != nil {
		return earlier
	}
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil && owner.Kind == "StatefulSet" {
		set, err := h.client.AppsV1().StatefulSets(h.release.Namespace).Get(ctx, owner.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), err == nil && set.UID != owner.UID:
			return earlier
		case apierrors.IsForbidden(err): // The controllers have a StatefulSet of their own, which they must not read.
		case err != nil:
			return fmt.Errorf("cannot get host StatefulSet %s/%s: %w", h.release.Namespace, owner.Name, err)
		}
	}
	if !h.isConfirmed() {
		return errOtherAnchor
	}
	return nil
}
