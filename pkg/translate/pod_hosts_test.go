package translate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// TestRewriteHosts checks which pods get an /etc/hosts with their whole name, and with which line.
func TestRewriteHosts(t *testing.T) {
	t.Parallel()
	cut := strings.Repeat("a", 63)
	const full = "web-0.db.default.svc.cluster.local"
	tests := map[string]struct {
		reason string
		change func(*corev1.Pod)
		off    bool
		want   string // the line, empty for none
	}{
		"StatefulSet": {reason: "its pods have a subdomain", want: "s/^([0-9a-f.:]+\t)web-0$/\\1" + full + "\tweb-0/"},
		"Off":         {reason: "the operator has not asked for it", off: true},
		"Subdomain":   {reason: "without one there is no whole name", change: func(p *corev1.Pod) { p.Spec.Subdomain = "" }},
		"FQDN": {
			reason: "the host's kubelet then writes the whole name alone", change: func(p *corev1.Pod) { p.Spec.SetHostnameAsFQDN = new(true) },
			want: "s/^([0-9a-f.:]+\t)web-0\\.db\\.default\\.svc\\.cluster\\.local$/\\1" + full + "\tweb-0/",
		},
		"Long": {
			reason: "a kubelet cuts the name of a pod first", change: func(p *corev1.Pod) { p.Name = strings.Repeat("a", 70) },
			want: "s/^([0-9a-f.:]+\t)" + cut + "$/\\1" + cut + ".db.default.svc.cluster.local\t" + cut + "/",
		},
		"Override":    {reason: "it has no domain, as in every cluster", change: func(p *corev1.Pod) { p.Spec.HostnameOverride = new("other.name") }},
		"HostNetwork": {reason: "the file is the node's", change: func(p *corev1.Pod) { p.Spec.HostNetwork = true }},
		"Windows":     {reason: "it has no such file", change: func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }},
		"Taken":       {reason: "the tenant's own container keeps its name", change: func(p *corev1.Pod) { p.Spec.Containers[0].Name = hostsName }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := input()
			if in.HostsImage = "docker.io/library/busybox:1"; tt.off {
				in.HostsImage = ""
			}
			host := created(t, in, webPod(func(p *corev1.Pod) {
				p.Spec.Subdomain = "db"
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
					Name: "own", Image: "own:1", VolumeMounts: []corev1.VolumeMount{{Name: "own", MountPath: "/etc/hosts"}},
				})
				if tt.change != nil {
					tt.change(p)
				}
			}))
			got := ""
			if len(host.Spec.InitContainers) > 0 {
				command := host.Spec.InitContainers[0].Command
				got = command[len(command)-1]
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
			if tt.want == "" {
				return
			}
			if mount := host.Spec.Containers[0].VolumeMounts; len(mount) != 1 || mount[0].MountPath != "/etc/hosts" || mount[0].SubPath != "hosts" {
				t.Errorf("the container has the mounts %v", mount)
			}
			if volume := host.Spec.Volumes[0]; volume.Name != hostsName || volume.EmptyDir.Medium != corev1.StorageMediumMemory {
				t.Errorf("the volume %v keeps an autoscaler from removing the node", volume)
			}
			if mount := host.Spec.Containers[1].VolumeMounts; len(mount) != 1 || mount[0].Name != "own" {
				t.Errorf("the container with a file of its own has the mounts %v", mount)
			}
		})
	}
}

// TestRewriteHostsKeepsQuality checks that the container costs a pod with limits nothing of its
// quality of service.
func TestRewriteHostsKeepsQuality(t *testing.T) {
	t.Parallel()
	in := input()
	in.HostsImage = "docker.io/library/busybox:1"
	of := func(class corev1.PodQOSClass) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Subdomain, p.Status.QOSClass = "db", class }
	}
	asWhole := func(p *corev1.Pod) {
		of(corev1.PodQOSGuaranteed)(p)
		p.Spec.Resources = &corev1.ResourceRequirements{}
	}
	tests := []struct {
		class  string
		change func(*corev1.Pod)
		limits int
	}{
		{"Guaranteed", of(corev1.PodQOSGuaranteed), 2}, {"Burstable", of(corev1.PodQOSBurstable), 0},
		{"BestEffort", of(corev1.PodQOSBestEffort), 0}, {"Guaranteed as a whole", asWhole, 0},
	}
	for _, tt := range tests {
		host := created(t, in, webPod(tt.change))
		if got := host.Spec.InitContainers[0].Resources; len(got.Limits) != tt.limits || len(got.Requests) != tt.limits {
			t.Errorf("a pod of class %s has a container with %v", tt.class, got)
		}
	}
}
