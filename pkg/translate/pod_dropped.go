package translate

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// DroppedByHost returns the fields of a virtual pod that were sent but are missing in its host
// pod. An API server silently drops fields that it does not know or whose feature is disabled.
// It checks fields that are newer than Kubernetes 1.30 and change how a pod runs. Other dropped
// fields cause an error: for example, the host rejects a volume without a source.
func DroppedByHost(virtual, host *corev1.Pod) []string {
	var dropped []string
	recordLack := func(field string, wanted, has bool) {
		if wanted && !has {
			dropped = append(dropped, field)
		}
	}
	recordLack("spec.hostUsers", virtual.Spec.HostUsers != nil, host.Spec.HostUsers != nil)
	recordLack("spec.resources", virtual.Spec.Resources != nil, host.Spec.Resources != nil)
	field := hostnameField(virtual)
	recordLack(field, field != "", host.Spec.HostnameOverride != nil)
	if want := virtual.Spec.SecurityContext; want != nil {
		have := host.Spec.SecurityContext
		if have == nil {
			have = &corev1.PodSecurityContext{}
		}
		recordLack("spec.securityContext.supplementalGroupsPolicy", want.SupplementalGroupsPolicy != nil, have.SupplementalGroupsPolicy != nil)
		recordLack("spec.securityContext.seLinuxChangePolicy", want.SELinuxChangePolicy != nil, have.SELinuxChangePolicy != nil)
	}
	addContainers := func(path string, virtual, host []corev1.Container) {
		eachPair(virtual, host, func(virtual, host *corev1.Container) {
			for _, field := range droppedOfContainer(virtual, host) {
				dropped = append(dropped, fmt.Sprintf("%s[%s].%s", path, virtual.Name, field))
			}
		})
	}
	addContainers("spec.initContainers", virtual.Spec.InitContainers, host.Spec.InitContainers)
	addContainers("spec.containers", virtual.Spec.Containers, host.Spec.Containers)
	return dropped
}

// hostnameField returns the field of a virtual pod for which the host pod needs
// spec.hostnameOverride, empty for none. See [setHostname].
func hostnameField(virtual *corev1.Pod) string {
	fqdn := virtual.Spec.SetHostnameAsFQDN
	switch {
	case virtual.Spec.HostnameOverride != nil:
		return "spec.hostnameOverride"
	case virtual.Spec.HostNetwork:
		return ""
	case fqdn != nil && *fqdn && virtual.Spec.Subdomain != "":
		return "spec.setHostnameAsFQDN"
	case len(validation.IsDNS1123Label(ShortHostname(virtual))) > 0:
		return "metadata.name as the host name"
	default:
		return ""
	}
}

// droppedOfContainer returns the fields that a container of the host lacks.
func droppedOfContainer(virtual, host *corev1.Container) []string {
	var dropped []string
	recordLack := func(field string, wanted, has bool) {
		if wanted && !has {
			dropped = append(dropped, field)
		}
	}
	recordLack("restartPolicy", virtual.RestartPolicy != nil, host.RestartPolicy != nil)
	recordLack("restartPolicyRules", len(virtual.RestartPolicyRules) > 0, len(host.RestartPolicyRules) > 0)
	recordLack("lifecycle.stopSignal", hasStopSignal(virtual), hasStopSignal(host))
	recordLack("securityContext.procMount", hasProcMount(virtual), hasProcMount(host))
	recordLack("volumeMounts.recursiveReadOnly", mountsRecursively(virtual), mountsRecursively(host))
	return dropped
}

// hasStopSignal reports whether a container sets its stop signal.
func hasStopSignal(c *corev1.Container) bool {
	return c.Lifecycle != nil && c.Lifecycle.StopSignal != nil
}

// hasProcMount reports whether a container requests a procMount other than the default.
func hasProcMount(c *corev1.Container) bool {
	return c.SecurityContext != nil && c.SecurityContext.ProcMount != nil && *c.SecurityContext.ProcMount != corev1.DefaultProcMount
}

// mountsRecursively reports whether a mount of a container sets recursiveReadOnly.
func mountsRecursively(c *corev1.Container) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.RecursiveReadOnly != nil })
}
