package translate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestTranslatedImages gives a new and a running pod the images that the host pulls. What
// was written once is not written again, and the tenant's own image is the one that counts.
func TestTranslatedImages(t *testing.T) {
	t.Parallel()
	in := input()
	in.TranslateImage = func(image string) string { return "mirror.example.com/" + image }
	virtual := webPod()
	virtual.Spec.Containers[0].Image = "nginx:1"
	virtual.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "busybox:1"}}
	virtual.Spec.Volumes = append(virtual.Spec.Volumes, corev1.Volume{
		Name: "data", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "data:1"}},
	})
	host := created(t, in, virtual)
	if got := host.Spec.Volumes[len(host.Spec.Volumes)-1].Image.Reference; got != "mirror.example.com/data:1" {
		t.Errorf("the volume has the image %s", got)
	}
	if got := host.Spec.InitContainers[0].Image; got != "mirror.example.com/busybox:1" {
		t.Errorf("the init container has the image %s", got)
	}
	update := func(want string) {
		t.Helper()
		if err := Pod(in, virtual, host); err != nil || host.Spec.Containers[0].Image != want {
			t.Errorf("the container has the image %s, want %s; %v", host.Spec.Containers[0].Image, want, err)
		}
	}
	update("mirror.example.com/nginx:1")
	virtual.Spec.Containers[0].Image = "nginx:2"
	virtual.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "debug:1"}}}
	update("mirror.example.com/nginx:2")
	update("mirror.example.com/nginx:2")
	if got := host.Spec.EphemeralContainers[0].Image; got != "mirror.example.com/debug:1" {
		t.Errorf("the ephemeral container has the image %s", got)
	}
	if !hasAllRequests(virtual, host) {
		t.Error("the host pod does not count as up to date")
	}
}
