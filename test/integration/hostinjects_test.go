package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// injectIntoPod changes a pod as the webhooks of a mesh, of a registry and of an operator do, in each request.
func injectIntoPod(pod *corev1.Pod) {
	sidecar := corev1.Container{Name: "proxy", Image: "mesh.example.com/proxy", ImagePullPolicy: corev1.PullAlways,
		TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile}
	if pod.Spec.Containers[0].Name != sidecar.Name {
		pod.Spec.Containers = append([]corev1.Container{sidecar}, pod.Spec.Containers...)
		sidecar.Name, sidecar.RestartPolicy = "init-proxy", new(corev1.ContainerRestartPolicyAlways)
		pod.Spec.InitContainers = append([]corev1.Container{sidecar}, pod.Spec.InitContainers...)
		pod.Spec.Volumes = append([]corev1.Volume{{Name: "mesh", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}, pod.Spec.Volumes...)
		pod.Spec.Tolerations = append([]corev1.Toleration{{Key: "pool", Operator: corev1.TolerationOpEqual, Value: "tenants"}}, pod.Spec.Tolerations...)
		pod.Spec.NodeSelector = map[string]string{"pool": "tenants"}
		pod.Spec.PriorityClassName = ""
		for i := range pod.Spec.Containers {
			c := &pod.Spec.Containers[i]
			c.Env = append([]corev1.EnvVar{{Name: "MESH", Value: "on"}}, c.Env...)
			c.Image = "mirror.example.com/" + c.Image
			c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
		}
	}
}

// TestHostInjects lets webhooks of the host change all objects, at each write. The tenant sees their own
// objects, and the two sides do not write against each other. Its engine runs the pods of all namespaces, so that
// no other test may run pods meanwhile.
func TestHostInjects(t *testing.T) {
	r := newRelease(t)
	r.hooks.set(t, r.namespace, func(a admission.Attributes, o admission.ObjectInterfaces) error {
		if a.GetSubresource() != "" || a.GetObject() == nil || a.GetResource().Resource == "events" {
			return nil
		}
		if a.GetResource().Resource == "pods" && a.GetOperation() == admission.Create {
			if err := editPod(a, o, injectIntoPod); err != nil {
				return err
			}
		}
		return addMarks(a)
	})
	f := newFarm(t, r)
	count := &tally{counts: map[string]int{}}
	e := r.start(t, count.wrap(r.host.memory()), r.allKinds()...)
	e.synced(t)
	meta := metav1.ObjectMeta{Namespace: r.namespace, Name: "web", Labels: map[string]string{"app": "web"}}
	pod := plainPod(r.namespace, "web")
	pod.Labels = meta.Labels
	pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "web"}}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "web"}}},
	}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "web"},
	}}}
	for _, object := range []client.Object{
		&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"k": "v"}},
		&corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"k": []byte("v")}},
		&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Selector: meta.Labels, Ports: []corev1.ServicePort{{Port: 80}}}},
		&corev1.PersistentVolumeClaim{ObjectMeta: meta, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: new("fast"),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
		}},
		pod,
	} {
		if err := r.virtual.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	f.await(t, e, "virtual Running", f.virtualRunning, 1)
	r.hasInputs(t) // A pod does not wait long for copies that are late.
	count.take()
	host := &corev1.Pod{}
	if err := r.host.client.Get(t.Context(), r.hostKey("web"), host); err != nil {
		t.Fatal(err)
	}
	if len(host.Spec.Containers) != 2 {
		t.Fatalf("the webhook of the host does not work: %+v", host.Spec.Containers)
	}
	// Each change of the status is a reconcile.
	const changes = 30
	for i := range changes {
		patch := fmt.Sprintf(`{"status":{"message":"change %d","containerStatuses":[{"name":"proxy","ready":true,"restartCount":%d,"image":"x","imageID":"x"},{"name":"web","ready":true,"restartCount":%d,"image":"x","imageID":"x"}]}}`, i, i, i)
		if err := r.host.client.Status().Patch(t.Context(), host, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			t.Fatal(err)
		}
		eventually(t, "status of the virtual pod", func(ctx context.Context) error {
			if err := r.virtual.client.Get(ctx, r.virtualKey("web"), pod); err != nil {
				return err
			}
			if want := fmt.Sprintf("change %d", i); pod.Status.Message != want {
				return fmt.Errorf("it has %q, want %q", pod.Status.Message, want)
			}
			return nil
		})
		for _, name := range []string{"configmaps", "secrets", "services", "persistentvolumeclaims"} {
			e.Enqueue(name, r.virtualKey("web"))
		}
	}
	for what, n := range count.take() {
		if n > 1 {
			t.Errorf("%d changes of the status must not cause %d times %s", changes, n, what)
		}
	}
	if len(pod.Spec.Containers) != 1 || len(pod.Status.ContainerStatuses) != 1 || pod.Spec.NodeSelector != nil {
		t.Errorf("the tenant must see their own pod, got %+v", pod.Spec)
	}
	for key := range pod.Labels {
		if key != "app" {
			t.Errorf("the tenant must not see the label %s of the host", key)
		}
	}
}

// hasInputs waits until the host has all that the pod "web" uses.
func (r *release) hasInputs(t *testing.T) {
	t.Helper()
	for _, input := range []struct {
		key    client.ObjectKey
		object client.Object
	}{
		{r.hostKey("web"), &corev1.ConfigMap{}},
		{r.hostKey("web"), &corev1.Secret{}},
		{r.hostKey("web"), &corev1.Service{}},
		{r.hostKey("web"), &corev1.PersistentVolumeClaim{}},
		{translate.LinksKey(r.cluster, r.namespace), &corev1.ConfigMap{}},
		{translate.Derived(translate.TokenRole)(r.cluster, r.virtualKey("web")), &corev1.Secret{}},
	} {
		eventually(t, fmt.Sprintf("%T %s", input.object, input.key.Name), func(ctx context.Context) error {
			return r.host.client.Get(ctx, input.key, input.object)
		})
	}
}
