package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	subletadmission "github.com/sublet-dev/sublet/pkg/admission"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// isPoliced reports whether a namespace is that of a test about policies.
func isPoliced(namespace string) bool {
	return strings.HasPrefix(namespace, "testpodpolicy") || strings.HasPrefix(namespace, "testhostpolicy") ||
		namespace == metav1.NamespaceSystem
}

// policedView is a host with one pod of the virtual cluster and one storage class.
type policedView struct{}

// OwnsAddress implements admission.HostView.
func (policedView) OwnsAddress(_ context.Context, address string) (bool, error) {
	return address == "10.1.2.3", nil
}

// StorageClasses implements admission.HostView.
func (policedView) StorageClasses(context.Context) ([]storagev1.StorageClass, error) {
	return []storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: "example.com/ssd"}}, nil
}

// RuntimeClass implements admission.HostView.
func (policedView) RuntimeClass(context.Context, string) (*nodev1.RuntimeClass, error) {
	return nil, nil //nolint:nilnil // The tenant sees none.
}

// ShowsIngressClass implements admission.HostView.
func (policedView) ShowsIngressClass(context.Context, string) (bool, error) { return false, nil }

// MayEvict implements admission.HostView.
func (policedView) MayEvict(context.Context, types.NamespacedName) error { return nil }

// policed is the plugin of policies with the default settings, for the namespaces of tests
// about them and for pods of kube-system. The syncer of other tests has copies there.
type policed struct{ admission.ValidationInterface }

// newPoliced returns the plugin. Nobody is the syncer.
func newPoliced() policed {
	return policed{subletadmission.Policy(subletadmission.PolicyOptions{Checks: subletadmission.PolicyChecks(v1alpha1.Default(kinds.Settings()...), policedView{})})}
}

// Validate implements [admission.ValidationInterface].
func (p policed) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if !isPoliced(a.GetNamespace()) || a.GetNamespace() == metav1.NamespaceSystem && a.GetResource().GroupResource() != corev1.Resource("pods") {
		return nil
	}
	return p.ValidationInterface.Validate(ctx, a, o)
}

// privileged returns a container that the standard baseline does not allow.
func privileged() corev1.Container {
	return corev1.Container{Name: "evil", Image: "busybox", SecurityContext: &corev1.SecurityContext{Privileged: new(true)}}
}

// plainPod returns a pod that runs under every standard but restricted.
func plainPod(namespace, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx"}}},
	}
}

// wantDenied checks that a request is denied with the setting that decides.
func wantDenied(t *testing.T, reason string, err error, setting string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), setting) {
		t.Errorf("%s: got %v, want a denial that names %s", reason, err, setting)
	}
}

// TestPodPolicy asks a whole API server for pods that the default policies deny.
func TestPodPolicy(t *testing.T) {
	r := newRelease(t)
	c := r.virtual.client
	evil := func(namespace string) *corev1.Pod {
		pod := plainPod(namespace, "evil")
		pod.Spec.Containers = append(pod.Spec.Containers, privileged())
		return pod
	}
	const standard = "policies.podSecurityStandard"
	wantDenied(t, "a privileged pod", c.Create(t.Context(), evil(r.namespace)), standard)
	wantDenied(t, "a privileged pod in kube-system", c.Create(t.Context(), evil(metav1.NamespaceSystem)), standard)
	config, _ := r.virtual.wire(t)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:sublet:syncer", Groups: []string{"system:masters"}}
	impersonating, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	wantDenied(t, "a privileged pod of who calls himself the syncer", impersonating.Create(t.Context(), evil(r.namespace)), standard)

	pod := plainPod(r.namespace, "web")
	// Without a node, it would be deleted at once.
	pod.Spec.NodeName = "node-1"
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	changed := pod.DeepCopy()
	changed.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon(privileged())}}
	wantDenied(t, "a privileged debug container", c.SubResource("ephemeralcontainers").Update(t.Context(), changed), standard)
	changed = pod.DeepCopy()
	changed.Spec.Tolerations = append(changed.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists})
	wantDenied(t, "a toleration that is added later", c.Update(t.Context(), changed), "policies.pods.tolerations")
	changed = pod.DeepCopy()
	changed.Labels = map[string]string{"app": "web"}
	if err := c.Update(t.Context(), changed); err != nil {
		t.Errorf("a label: %v", err)
	}
	const grace = "policies.pods.maxGracePeriodSeconds"
	wantDenied(t, "a long delete", c.Delete(t.Context(), pod, client.GracePeriodSeconds(1<<31)), grace)
	wantDenied(t, "a long delete of all", c.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(r.namespace), client.GracePeriodSeconds(1<<31)), grace)
	eviction := &policyv1.Eviction{DeleteOptions: &metav1.DeleteOptions{GracePeriodSeconds: new(int64(1 << 31))}}
	wantDenied(t, "a long eviction", c.SubResource("eviction").Create(t.Context(), pod, eviction), grace)
}

// TestPodPolicyLabels checks that labels of a virtual namespace make the standard stricter,
// never weaker.
func TestPodPolicyLabels(t *testing.T) {
	r := newRelease(t)
	c := r.virtual.client
	label := func(level string) {
		t.Helper()
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":%q}}}`, level)
		if err := c.Patch(t.Context(), namespace, client.RawPatch(types.MergePatchType, patch)); err != nil {
			t.Fatal(err)
		}
	}
	label("privileged")
	evil := plainPod(r.namespace, "evil")
	evil.Spec.HostNetwork = true
	wantDenied(t, "a namespace that enforces less", c.Create(t.Context(), evil), "policies.podSecurityStandard")
	label("restricted")
	eventually(t, "a namespace that enforces more", func(ctx context.Context) error {
		err := c.Create(ctx, plainPod(r.namespace, "web"), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
			return fmt.Errorf("got %w, want upstream's denial", err)
		}
		return nil
	})
}

// TestPodPolicyOfControllers checks that a Deployment is stored with a warning, and that the
// denial of its pods is an Event of its ReplicaSet.
func TestPodPolicyOfControllers(t *testing.T) {
	r := newRelease(t)
	heard := &heardWarnings{}
	config, _ := r.virtual.wire(t)
	config.WarningHandlerWithContext = heard
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	run := map[string]string{"app": "web"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: run},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: run},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{privileged()}},
			},
		},
	}
	if err := c.Create(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	const standard = "policies.podSecurityStandard"
	if len(heard.texts) != 1 || !strings.Contains(heard.texts[0], standard) {
		t.Errorf("got the warnings %q, want one with %s", heard.texts, standard)
	}
	eventually(t, "the Event of the ReplicaSet", func(ctx context.Context) error {
		var events corev1.EventList
		if err := c.List(ctx, &events, client.InNamespace(r.namespace)); err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.InvolvedObject.Kind == "ReplicaSet" && event.Reason == "FailedCreate" && strings.Contains(event.Message, standard) {
				return nil
			}
		}
		return errors.New("there is none")
	})
}

// heardWarnings records the warnings of requests that run one after another.
type heardWarnings struct{ texts []string }

// HandleWarningHeaderWithContext implements [rest.WarningHandlerWithContext].
func (h *heardWarnings) HandleWarningHeaderWithContext(_ context.Context, code int, _, text string) {
	if code == 299 {
		h.texts = append(h.texts, text)
	}
}
