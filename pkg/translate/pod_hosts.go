package translate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// hostsName names the init container that writes /etc/hosts, and the volume with that file.
const hostsName = "sublet-hosts"

// rewriteHosts adds the FQDN of a pod with a subdomain to its /etc/hosts, as a kubelet of the
// virtual cluster would. The host's kubelet does not know the subdomain. So an init container
// copies its file and replaces the line of the pod. A container that mounts its own /etc/hosts
// keeps that.
func rewriteHosts(in PodInput, virtual *corev1.Pod, spec *corev1.PodSpec) {
	windows := spec.OS != nil && spec.OS.Name == corev1.Windows
	whole := virtual.Spec.Subdomain != "" && virtual.Spec.HostnameOverride == nil && !spec.HostNetwork && !windows
	if in.HostsImage == "" || !whole || usesHostsName(spec) {
		return
	}
	// In memory, because autoscalers keep a node for a volume on its disk.
	file := &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: hostsName, VolumeSource: corev1.VolumeSource{EmptyDir: file}})
	eachContainer(spec, func(container *corev1.Container) {
		if !slices.ContainsFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/etc/hosts" }) {
			container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: hostsName, MountPath: "/etc/hosts", SubPath: "hosts"})
		}
	})
	spec.InitContainers = slices.Insert(spec.InitContainers, 0, hostsContainer(in, virtual, spec))
}

// usesHostsName reports whether a container or volume of the tenant has the name hostsName.
func usesHostsName(spec *corev1.PodSpec) bool {
	used := slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == hostsName })
	eachContainer(spec, func(container *corev1.Container) { used = used || container.Name == hostsName })
	return used
}

// hostsContainer returns the init container that writes the file. It complies with the Pod Security
// Standard restricted, and does not change the QoS class of the pod.
func hostsContainer(in PodInput, virtual *corev1.Pod, spec *corev1.PodSpec) corev1.Container {
	known := spec.Hostname // the name that the host's kubelet writes
	if spec.HostnameOverride != nil {
		known = *spec.HostnameOverride
	}
	short := ShortHostname(virtual)
	full := hostnameFQDN(in, virtual, short)
	// The sed command replaces "ADDRESS<tab>KNOWN" by "ADDRESS<tab>FQDN<tab>SHORT".
	line := fmt.Sprintf("s/^([0-9a-f.:]+\t)%s$/\\1%s\t%s/", strings.ReplaceAll(known, ".", `\.`), full, short)
	container := corev1.Container{
		Name: hostsName, Image: in.HostsImage, ImagePullPolicy: corev1.PullIfNotPresent,
		Command:      []string{"sh", "-c", `sed -E "$1" /etc/hosts > /hosts/hosts`, "sh", line},
		VolumeMounts: []corev1.VolumeMount{{Name: hostsName, MountPath: "/hosts"}},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), RunAsNonRoot: new(true), RunAsUser: new(int64(65534)), ReadOnlyRootFilesystem: new(true),
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	if virtual.Status.QOSClass == corev1.PodQOSGuaranteed && virtual.Spec.Resources == nil {
		little := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")}
		container.Resources = corev1.ResourceRequirements{Requests: little, Limits: little}
	}
	return container
}
