package translate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestEphemeralContainers(t *testing.T) {
	t.Parallel()
	virtual := webPod(func(pod *corev1.Pod) { pod.Annotations = map[string]string{"note": "the host pod has it later"} })
	in := input()
	host := created(t, in, virtual)
	virtual.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: "debug", Image: "busybox:1",
		Env: []corev1.EnvVar{
			{Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
			{Name: "NOTE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['note']"}}},
			{Name: "KEY", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}, Key: "k"}}},
		},
	}, TargetContainerName: "web"}}
	host.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "operator"}}}
	if err := Pod(in, virtual, host); err != nil {
		t.Fatal(err)
	}
	if len(host.Spec.EphemeralContainers) != 2 {
		t.Fatalf("ephemeral containers on the host: %v, want the operator's and the tenant's", host.Spec.EphemeralContainers)
	}
	got := host.Spec.EphemeralContainers[1]
	env := map[string]string{}
	for _, e := range got.Env {
		env[e.Name] = e.Value
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			env[e.Name] = e.ValueFrom.SecretKeyRef.Name
		}
	}
	want := map[string]string{"POD": "web-0", "NOTE": "the host pod has it later", "KEY": Hashed(shop, keyOf("default", "keys")).Name, "KUBERNETES_SERVICE_HOST": "10.96.0.20"}
	for name, value := range want {
		if env[name] != value {
			t.Errorf("%s = %q, want %q", name, env[name], value)
		}
	}
	if len(got.EnvFrom) != 1 || got.EnvFrom[0].ConfigMapRef.Name != LinksKey(shop, "default").Name {
		t.Errorf("variables of Services come from %v", got.EnvFrom)
	}
	if got.Image != "busybox:1" || got.TargetContainerName != "web" {
		t.Errorf("image %q, target %q", got.Image, got.TargetContainerName)
	}
	host.Spec.EphemeralContainers[1].Image = "mirror.example/busybox:1"
	before := host.DeepCopy()
	if err := Pod(in, virtual, host); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, host); diff != "" {
		t.Errorf("a container that is there cannot be changed (-before +after):\n%s", diff)
	}
}
