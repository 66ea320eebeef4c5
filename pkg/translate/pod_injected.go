package translate

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// dropInjected returns the statuses of the containers of the virtual pod. The host's admission may
// have injected others.
func dropInjected(statuses []corev1.ContainerStatus, containers []corev1.Container) []corev1.ContainerStatus {
	return slices.DeleteFunc(statuses, func(status corev1.ContainerStatus) bool {
		return !slices.ContainsFunc(containers, func(c corev1.Container) bool { return c.Name == status.Name })
	})
}

// dropForeignMounts removes the mounts that the virtual containers lack. The host pod may have more, such
// as that of [rewriteHosts].
func dropForeignMounts(virtual *corev1.Pod, status *corev1.PodStatus) {
	own := map[string][]corev1.VolumeMount{} // name of the container -> its mounts
	eachContainer(&virtual.Spec, func(container *corev1.Container) { own[container.Name] = container.VolumeMounts })
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		for i := range list {
			mounts := own[list[i].Name]
			list[i].VolumeMounts = slices.DeleteFunc(list[i].VolumeMounts, func(s corev1.VolumeMountStatus) bool {
				return !slices.ContainsFunc(mounts, func(m corev1.VolumeMount) bool { return m.Name == s.Name && m.MountPath == s.MountPath })
			})
		}
	}
}

// hostContainersNotReady is the message of a condition that only containers of the host keep from being true.
const hostContainersNotReady = "the host has not made the pod ready yet"

// dropForeignNames removes the containers that the virtual pod lacks from the messages of conditions.
// Kubelets write "containers with unready status: [NAME NAME], containers with unknown status: [NAME]".
func dropForeignNames(virtual *corev1.Pod, conditions []corev1.PodCondition) {
	for _, kind := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		if condition := findCondition(conditions, kind); condition != nil && strings.HasPrefix(condition.Message, "containers with ") {
			condition.Message = withOwnContainers(virtual, condition.Message)
		}
	}
}

// withOwnContainers returns the message of a kubelet without the containers that the virtual pod lacks.
func withOwnContainers(virtual *corev1.Pod, message string) string {
	own := map[string]bool{}
	eachContainer(&virtual.Spec, func(container *corev1.Container) { own[container.Name] = true })
	var parts []string
	for part := range strings.SplitSeq(message, ", ") {
		text, list, _ := strings.Cut(part, "[")
		names, isList := strings.CutSuffix(list, "]")
		if !isList {
			parts = append(parts, part)
			continue
		}
		kept := slices.DeleteFunc(strings.Fields(names), func(name string) bool { return !own[name] })
		if len(kept) > 0 {
			parts = append(parts, text+"["+strings.Join(kept, " ")+"]")
		}
	}
	if len(parts) == 0 {
		return hostContainersNotReady
	}
	return strings.Join(parts, ", ")
}
