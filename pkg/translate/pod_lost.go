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
	// unknownExitCode is the exit code that kubelets report for a container with an unknown one.
	unknownExitCode = 137
)

// FailLostPod sets the phase Failed on a pod whose host pod is gone, as for a pod whose node is
// gone. Controllers such as Jobs wait for that before they replace the pod. It does not change
// a finished pod.
func FailLostPod(virtual *corev1.Pod, at time.Time) {
	if IsFinished(virtual) {
		return
	}
	now := metav1.NewTime(at)
	status := &virtual.Status
	status.Phase, status.Reason, status.Message = corev1.PodFailed, hostPodLost, hostPodLostMessage
	if virtual.Spec.NodeName != "" || status.StartTime != nil {
		transitionCondition(status, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: hostPodLost, Message: hostPodLostMessage, LastTransitionTime: now,
		})
	}
	for _, unready := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		if slices.ContainsFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type == unready }) {
			transitionCondition(status, corev1.PodCondition{
				Type: unready, Status: corev1.ConditionFalse, Reason: "PodFailed", LastTransitionTime: now,
			})
		}
	}
	status.InitContainerStatuses = terminateContainers(status.InitContainerStatuses, virtual.Spec.InitContainers, now)
	status.ContainerStatuses = terminateContainers(status.ContainerStatuses, virtual.Spec.Containers, now)
	for i := range status.EphemeralContainerStatuses {
		terminateContainer(&status.EphemeralContainerStatuses[i], now)
	}
}

// transitionCondition adds a condition. It replaces one of the same type only if that has another
// status.
func transitionCondition(status *corev1.PodStatus, condition corev1.PodCondition) {
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

// terminateContainers returns the statuses with all containers terminated. It adds missing ones.
func terminateContainers(statuses []corev1.ContainerStatus, containers []corev1.Container, now metav1.Time) []corev1.ContainerStatus {
	result := slices.Clone(statuses)
	for i := range containers {
		known := slices.ContainsFunc(result, func(s corev1.ContainerStatus) bool { return s.Name == containers[i].Name })
		if !known {
			result = append(result, corev1.ContainerStatus{Name: containers[i].Name, Image: containers[i].Image})
		}
	}
	for i := range result {
		terminateContainer(&result[i], now)
	}
	return result
}

// terminateContainer sets a container status to terminated, with the reason of a kubelet that cannot
// find the container. It does not change a terminated one.
func terminateContainer(status *corev1.ContainerStatus, now metav1.Time) {
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
