package translate

import (
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// exceededQuota is in the message of a request that a ResourceQuota refuses.
const exceededQuota = "exceeded quota"

// SetRefusedResize sets the condition PodResizePending of a pod whose resize the host refuses with
// message. Autoscalers read the reason, as that of a kubelet: a resize that is only deferred succeeds
// once others free what a quota grants. A resize that the kubelet of the host itself defers
// keeps the condition of the kubelet.
func SetRefusedResize(virtual, host *corev1.Pod, message string, at time.Time) {
	if findCondition(host.Status.Conditions, corev1.PodResizePending) != nil || !awaitsResize(virtual, host) {
		return
	}
	reason := corev1.PodReasonInfeasible
	if strings.Contains(message, exceededQuota) {
		reason = corev1.PodReasonDeferred
	}
	condition := corev1.PodCondition{
		Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(at), ObservedGeneration: virtual.Generation,
	}
	old := findCondition(virtual.Status.Conditions, corev1.PodResizePending)
	if old != nil && old.Reason == reason && old.ObservedGeneration == condition.ObservedGeneration &&
		(old.Message == message || at.Sub(old.LastTransitionTime.Time) < refusedPeriod) {
		return
	}
	setCondition(&virtual.Status, condition)
}

// keepRefusedResize keeps the condition of [SetRefusedResize] in the new status of a virtual pod. It
// goes when the host pod has the resize, or the tenant takes it back.
func keepRefusedResize(host, virtual *corev1.Pod, status *corev1.PodStatus) {
	pending := findCondition(virtual.Status.Conditions, corev1.PodResizePending)
	if pending == nil || findCondition(status.Conditions, corev1.PodResizePending) != nil || !awaitsResize(virtual, host) {
		return
	}
	status.Conditions = append(status.Conditions, *pending)
}

// awaitsResize reports whether a host pod lacks the resources that the tenant requests. A finished pod needs
// none. Only then is the condition set, and only then is it kept: otherwise each reconcile would write it.
func awaitsResize(virtual, host *corev1.Pod) bool {
	sent := DecodeLastApplied(host.Annotations[labels.LastApplied])[resourcesGroup]
	return !IsFinished(host) && !maps.Equal(digestRequests(virtual)[resourcesGroup], sent)
}
