package translate

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestDroppedByHost lets a host drop what each of its versions does not know.
func TestDroppedByHost(t *testing.T) {
	t.Parallel()
	virtual := webPod(func(pod *corev1.Pod) {
		pod.Spec.HostUsers = new(false)
		pod.Spec.Resources = &corev1.ResourceRequirements{Limits: quantities("memory", "1Gi")}
		pod.Spec.Subdomain, pod.Spec.SetHostnameAsFQDN = "db", new(true)
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{
			SupplementalGroupsPolicy: new(corev1.SupplementalGroupsPolicyStrict), SELinuxChangePolicy: new(corev1.SELinuxChangePolicyRecursive),
		}
		pod.Spec.InitContainers = []corev1.Container{{Name: "side", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}
		web := &pod.Spec.Containers[0]
		web.RestartPolicy = new(corev1.ContainerRestartPolicyNever)
		web.RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart}}
		web.Lifecycle = &corev1.Lifecycle{StopSignal: new(corev1.SIGUSR1)}
		web.SecurityContext = &corev1.SecurityContext{ProcMount: new(corev1.UnmaskedProcMount)}
		web.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data", RecursiveReadOnly: new(corev1.RecursiveReadOnlyEnabled)}}
	})
	host := created(t, input(), virtual)
	if dropped := DroppedByHost(virtual, host); len(dropped) > 0 {
		t.Errorf("The host has taken everything, got %q", dropped)
	}
	spec, web := &host.Spec, &host.Spec.Containers[0]
	spec.HostUsers, spec.Resources, spec.HostnameOverride, spec.SecurityContext = nil, nil, nil, nil
	web.RestartPolicy, web.RestartPolicyRules, web.Lifecycle, web.SecurityContext = nil, nil, nil, nil
	web.VolumeMounts[0].RecursiveReadOnly = nil
	want := []string{
		"spec.hostUsers", "spec.resources", "spec.setHostnameAsFQDN",
		"spec.securityContext.supplementalGroupsPolicy", "spec.securityContext.seLinuxChangePolicy",
		"spec.containers[web].restartPolicy", "spec.containers[web].restartPolicyRules", "spec.containers[web].lifecycle.stopSignal",
		"spec.containers[web].securityContext.procMount", "spec.containers[web].volumeMounts.recursiveReadOnly",
	}
	if dropped := DroppedByHost(virtual, host); !slices.Equal(dropped, want) {
		t.Errorf("got %q, want %q", dropped, want)
	}
}

func TestDroppedHostname(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*corev1.Pod)
		want   []string
	}{
		{"web", func(*corev1.Pod) {}, nil},
		{"web.v2", func(*corev1.Pod) {}, []string{"metadata.name as the host name"}},
		{"web.v2", func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }, nil},
		{"web", func(pod *corev1.Pod) { pod.Spec.HostnameOverride = new("other") }, []string{"spec.hostnameOverride"}},
	} {
		virtual := webPod(func(pod *corev1.Pod) { pod.Name = c.name }, c.change)
		host := created(t, input(), virtual)
		host.Spec.HostnameOverride = nil
		if dropped := DroppedByHost(virtual, host); !slices.Equal(dropped, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, dropped, c.want)
		}
	}
}
