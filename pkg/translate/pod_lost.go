package translate

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// hostPodLost is the reason in the status of a pod whose host pod is gone.
	hostPodLost = "HostPodLost"
	// hostPodLostMessage explains it to the tenant.
	hostPodLostMessage = "The pod was deleted on the host cluster before it reported a final status."
	// unknownExitCode is the exit code of a container whose end nobody saw, as kubelets
	// report it.
	unknownExitCode = 137
)

// FailLostPod sets the final state of a pod whose host pod is gone: it has failed, as a
// pod whose node is gone. Controllers such as Jobs wait for that state before they replace
// the pod. It changes nothing of a pod that is finished.
func FailLostPod(virtual *corev1.Pod, at time.Time) {
	if IsFinished(virtual) {
		return
	}
	now := metav1.NewTime(at)
	status := &virtual.Status
	status.Phase, status.Reason, status.Message = corev1.PodFailed, hostPodLost, hostPodLostMessage
	if virtual.Spec.NodeName != "" || status.StartTime != nil {
		setStatusCondition(status, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: hostPodLost, Message: hostPodLostMessage, LastTransitionTime: now,
		})
	}
	for _, unready := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		if slices.ContainsFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type == unready }) {
			setStatusCondition(status, corev1.PodCondition{
				Type: unready, Status: corev1.ConditionFalse, Reason: "PodFailed", LastTransitionTime: now,
			})
		}
	}
	status.InitContainerStatuses = terminated(status.InitContainerStatuses, virtual.Spec.InitContainers, now)
	status.ContainerStatuses = terminated(status.ContainerStatuses, virtual.Spec.Containers, now)
	for i := range status.EphemeralContainerStatuses {
		terminate(&status.EphemeralContainerStatuses[i], now)
	}
}

// setStatusCondition adds a condition, or replaces the one of its type unless it has the same
// status.
func setStatusCondition(status *corev1.PodStatus, condition corev1.PodCondition) {
	for i := range status.Conditions {
		old := &status.Conditions[i]
		if old.Type != condition.Type {
			continue
		}
		if old.Status != condition.Status {
			condition.ObservedGeneration = old.ObservedGeneration
			*old = condition
		}
		return
	}
	status.Conditions = append(status.Conditions, condition)
}

// terminated returns a terminated status for each container.
func terminated(statuses []corev1.ContainerStatus, containers []corev1.Container, now metav1.Time) []corev1.ContainerStatus {
	result := slices.Clone(statuses)
	for i := range containers {
		known := slices.ContainsFunc(result, func(s corev1.ContainerStatus) bool { return s.Name == containers[i].Name })
		if !known {
			result = append(result, corev1.ContainerStatus{Name: containers[i].Name, Image: containers[i].Image})
		}
	}
	for i := range result {
		terminate(&result[i], now)
	}
	return result
}

// terminate sets a container status to terminated, in the words of a kubelet that cannot
// find the container. It changes nothing of one that is terminated.
func terminate(status *corev1.ContainerStatus, now metav1.Time) {
	if status.State.Terminated != nil {
		return
	}
	end := &corev1.ContainerStateTerminated{
		ExitCode: unknownExitCode, Reason: "ContainerStatusUnknown",
		Message:    "The container could not be located when the pod was terminated",
		FinishedAt: now, ContainerID: status.ContainerID,
	}
	if status.State.Running != nil {
		end.StartedAt = status.State.Running.StartedAt
	}
	status.State = corev1.ContainerState{Terminated: end}
	status.Ready, status.Started = false, new(bool)
}
