package kubeletmetrics

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// podSet has the virtual pods of a node.
type podSet struct {
	namespace string                 // of all host pods
	pods      map[string]*corev1.Pod // name of the host pod -> virtual pod
}

// newPodSet creates a set of virtual pods.
func newPodSet(cluster translate.Cluster, pods []corev1.Pod) podSet {
	set := podSet{namespace: cluster.Namespace, pods: make(map[string]*corev1.Pod, len(pods))}
	for i := range pods {
		host := translate.Hashed(cluster, types.NamespacedName{Namespace: pods[i].Namespace, Name: pods[i].Name})
		set.pods[host.Name] = &pods[i]
	}
	return set
}

// find returns the virtual pod of a host pod, or nil for a pod that is not the tenant's.
func (s podSet) find(namespace, name string) *corev1.Pod {
	if namespace != s.namespace {
		return nil
	}
	return s.pods[name]
}

// maxImage is the length of the longest image that is shown. Each series of a container has it, and a tenant may
// write any into a status.
const maxImage = 1024

// imageOf returns the image of a container of a virtual pod. ok is false if the pod has no
// such container. The host may have added it, with an identity that is not the tenant's. It may do so
// under the name of an ephemeral one too. The syncer copies the status of the tenant's alone.
func imageOf(pod *corev1.Pod, name string) (image string, ok bool) {
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		if c.Name == name {
			image, ok = c.Image, true
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == name && hasStarted(pod.Status.EphemeralContainerStatuses, name) {
			image, ok = c.Image, true
		}
	}
	for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses) {
		if s.Name == name {
			image = cmp.Or(s.Image, image)
		}
	}
	if len(image) > maxImage {
		return "", ok
	}
	return image, ok
}

// hasStarted reports whether a container of that name has a status with its ID.
func hasStarted(statuses []corev1.ContainerStatus, name string) bool {
	return slices.ContainsFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == name && s.ContainerID != "" })
}

// podUID matches the UID of a pod in the path of a cgroup, in both of its forms.
var podUID = regexp.MustCompile(`pod[0-9a-f]{8}([-_])[0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}`)

// toVirtualCgroup returns the path of a cgroup of a host pod with the UID of the virtual
// pod. The path begins where the pods of a node begin: what is above is the host's.
func toVirtualCgroup(path string, uid types.UID) string {
	start := strings.Index(path, "/kubepods")
	if start < 0 {
		return ""
	}
	return podUID.ReplaceAllStringFunc(path[start:], func(host string) string {
		if strings.Contains(host, "_") {
			return "pod" + strings.ReplaceAll(string(uid), "-", "_")
		}
		return "pod" + string(uid)
	})
}
