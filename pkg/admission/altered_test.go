package admission

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// bySyncer returns options of a policy for requests of the syncer, which has sent this object. nil means that
// nothing has altered it.
func bySyncer(sent runtime.Object) PolicyOptions {
	return PolicyOptions{
		IsSyncer: func(context.Context) bool { return true },
		Sent:     func(context.Context) runtime.Object { return sent },
		Checks:   PolicyChecks(withClaims(nil), hostClasses()),
	}
}

func TestAlterationsAreEvaluated(t *testing.T) {
	t.Parallel()
	pod := readPod(t, "containers: ["+plain+"]")
	altered := func(change func(*corev1.Pod)) *corev1.Pod {
		changed := pod.DeepCopy()
		change(changed)
		return changed
	}
	onHost := altered(func(pod *corev1.Pod) { pod.Spec.HostNetwork = true })
	tests := map[string]struct {
		reason, resource, subresource string
		sent, now                     runtime.Object
		want                          string
	}{
		"NotAltered": {reason: "the syncer is exempt", resource: "pods", now: onHost},
		"Harmless": {
			reason: "no rule is about a label", resource: "pods", sent: pod,
			now: altered(func(pod *corev1.Pod) { pod.Labels = map[string]string{"tier": "web"} }),
		},
		"SentByTheSyncer": {
			reason: "the syncer may write it, and the tenant has altered something else", resource: "pods", sent: onHost,
			now: altered(func(pod *corev1.Pod) { pod.Spec.HostNetwork, pod.Labels = true, map[string]string{"tier": "web"} }),
		},
		"Image": {
			reason: "the host pod would get it", resource: "pods", sent: pod, want: "spec.containers[0].image",
			now: altered(func(pod *corev1.Pod) { pod.Spec.Containers[0].Image = "sha256:3f57d9401f8d" }),
		},
		"MirrorPod": {
			reason: "a status takes annotations too", resource: "pods", subresource: "status", sent: pod, want: corev1.MirrorPodAnnotationKey,
			now: altered(func(pod *corev1.Pod) { pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }),
		},
		"Mark": {
			reason: "only the syncer marks copies", resource: "configmaps", sent: &corev1.ConfigMap{}, want: labels.HostUID,
			now: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{labels.HostUID: "u-1"}}},
		},
		"AttributesClass": {
			reason: "the host claim would get it", resource: "persistentvolumeclaims", sent: claim("fast", nil), want: "policies.volumes.attributesClasses",
			now: claim("fast", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = new("gold") }),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := podRequest{
				operation: admission.Update, resource: corev1.SchemeGroupVersion.WithResource(test.resource), subresource: test.subresource,
				object: test.now, old: test.now,
			}.attributes()
			err := Policy(bySyncer(test.sent)).Validate(t.Context(), a, admission.NewObjectInterfacesFromScheme(scheme.Scheme))
			switch {
			case test.want == "" && err != nil:
				t.Errorf("%s: got %v", test.reason, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%s: got %v, want a denial with %q", test.reason, err, test.want)
			}
		})
	}
}

// TestAlteredServices alters a Service on its way from the syncer to the API server.
func TestAlteredServices(t *testing.T) {
	t.Parallel()
	sent := stored(nil)
	altered := stored(func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 31288 })
	host := &fakeHost{}
	step := Services(ServiceOptions{
		Host: host, Rules: policy.NewServices(withClaims(nil).Policies.Services),
		IsSyncer: func(context.Context) bool { return true },
		Sent:     func(context.Context) runtime.Object { return &internalService{Service: *sent} },
	})
	a := admission.NewAttributesRecord(&internalService{Service: *altered}, &internalService{Service: *stored(nil)}, schema.GroupVersionKind{Version: "v1", Kind: "Service"},
		"shop", "web", corev1.SchemeGroupVersion.WithResource("services"), "", admission.Update, nil, false, nil)
	_, err := step.Prepare(t.Context(), a, admission.NewObjectInterfacesFromScheme(internalScheme(t)))
	if err == nil || !strings.Contains(err.Error(), "policies.services.explicitNodePorts") {
		t.Errorf("a certain node port by an alteration: got %v, want a denial", err)
	}
}
