package release

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
)

// pollInterval is the time between two looks at a virtual cluster that starts.
const pollInterval = 200 * time.Millisecond

// Wait returns once the virtual cluster is ready. It calls progress with what it waits for
// whenever that changes. After timeout it fails with the last reason. A host that does not answer for a while does
// not end the wait. That is one progress, though each request may fail in another way.
func Wait(ctx context.Context, client kubernetes.Interface, r release.Release, timeout time.Duration, progress func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	last, wasSilent := "its state was not read yet", false
	for {
		reason, isSilent, err := whyWaiting(ctx, client, r)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil && reason == "" {
			return nil
		}
		if err == nil && reason != last {
			last = reason
			if !isSilent || !wasSilent {
				progress(reason)
			}
		}
		wasSilent = isSilent
		select {
		case <-ctx.Done():
			return endOfWait(ctx, r, timeout, last)
		case <-ticker.C:
		}
	}
}

// endOfWait returns the error of a wait that has ended with ctx: cancelled, or after the timeout with the last reason.
func endOfWait(ctx context.Context, r release.Release, timeout time.Duration, last string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return fault.New(fault.NotReady, fmt.Sprintf("Look at it with: kubectl -n %s describe pod %s", r.Namespace, r.Pod(0)),
		"virtual cluster %s/%s is not ready after %s: %s", r.Namespace, r.Name, timeout, last)
}

// whyWaiting returns what the virtual cluster waits for. isSilent is true if its host does not answer: an API server
// that restarts, or a network that changes.
func whyWaiting(ctx context.Context, client kubernetes.Interface, r release.Release) (reason string, isSilent bool, err error) {
	reason, err = whyNotReady(ctx, client, r)
	if err == nil || ctx.Err() != nil {
		return reason, false, err
	}
	if code, _ := fault.Classify(err); code == fault.Unreachable {
		return err.Error(), true, nil
	}
	return reason, false, err
}

// whyNotReady returns what the virtual cluster waits for. It is empty if it is ready.
func whyNotReady(ctx context.Context, client kubernetes.Interface, r release.Release) (string, error) {
	workload, err := client.AppsV1().StatefulSets(r.Namespace).Get(ctx, r.StatefulSet(), metav1.GetOptions{})
	if err != nil {
		return "", fault.Wrap(err, "cannot get StatefulSet %s/%s", r.Namespace, r.StatefulSet())
	}
	replicas := int32(1)
	if workload.Spec.Replicas != nil {
		replicas = *workload.Spec.Replicas
	}
	if !isRolledOut(workload, replicas) {
		return whyPodsNotReady(ctx, client, r, replicas)
	}
	secret, err := client.CoreV1().Secrets(r.Namespace).Get(ctx, r.Kubeconfig(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && len(secret.Data[release.KubeconfigKey]) == 0 {
		return "the kubeconfig is not written yet", nil
	}
	if apierrors.IsForbidden(err) {
		return "", nil // it may still be ready
	}
	return "", fault.Wrap(err, "cannot get Secret %s/%s", r.Namespace, r.Kubeconfig())
}

// isRolledOut reports whether all pods are ready and of the newest revision.
func isRolledOut(workload *appsv1.StatefulSet, replicas int32) bool {
	status := workload.Status
	return status.ObservedGeneration >= workload.Generation && status.ReadyReplicas >= replicas && status.UpdatedReplicas >= replicas
}

// whyPodsNotReady returns the reason of the first pod that is not ready.
func whyPodsNotReady(ctx context.Context, client kubernetes.Interface, r release.Release, replicas int32) (string, error) {
	for ordinal := range int(replicas) {
		name := r.Pod(ordinal)
		pod, err := client.CoreV1().Pods(r.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return whyNoPod(ctx, client, r, name), nil
		}
		if err != nil {
			return "", fault.Wrap(err, "cannot get pod %s/%s", r.Namespace, name)
		}
		if reason := PodReason(pod); reason != "" {
			return "pod " + name + ": " + reason, nil
		}
	}
	return "the new revision is being rolled out", nil
}

// whyNoPod returns why the host has not created a pod, by the Events of its StatefulSet.
func whyNoPod(ctx context.Context, client kubernetes.Interface, r release.Release, pod string) string {
	events, err := client.CoreV1().Events(r.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=StatefulSet,involvedObject.name=" + r.StatefulSet() + ",reason=FailedCreate",
	})
	if err == nil && len(events.Items) > 0 {
		return "pod " + pod + " is not created: " + events.Items[len(events.Items)-1].Message
	}
	return "pod " + pod + " is not created yet"
}

// PodReason returns why a pod is not ready. It is empty if it is.
func PodReason(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return "is terminating"
	}
	for _, status := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...) {
		if reason := containerReason(status); reason != "" {
			return reason
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return "is not scheduled: " + condition.Message
		}
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return ""
		}
	}
	if pod.Status.Phase == corev1.PodPending {
		return "its containers are being created"
	}
	return "the control plane starts"
}

// containerReason returns what is wrong with a container. A container that is being created is fine.
func containerReason(status corev1.ContainerStatus) string {
	waiting := status.State.Waiting
	if waiting == nil || waiting.Reason == "ContainerCreating" || waiting.Reason == "PodInitializing" {
		return ""
	}
	reason := waiting.Reason
	if waiting.Message != "" {
		reason += ": " + waiting.Message
	}
	if ended := status.LastTerminationState.Terminated; ended != nil {
		reason += fmt.Sprintf(" (last exit code %d %s)", ended.ExitCode, ended.Reason)
	}
	return reason
}
