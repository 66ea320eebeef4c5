package controlplane

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
)

// recorder is an admission step that remembers pods and refuses some.
type recorder struct {
	*admission.Handler
	mu   sync.Mutex
	pods map[string]*seenPod
}

// seenPod is a pod as the recorder saw it.
type seenPod struct {
	labels map[string]string
}

func newRecorder() *recorder {
	return &recorder{Handler: admission.NewHandler(admission.Create), pods: map[string]*seenPod{}}
}

var (
	_ admission.MutationInterface   = &recorder{}
	_ admission.ValidationInterface = &recorder{}
)

func (r *recorder) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Resource != "pods" || a.GetSubresource() != "" {
		return nil
	}
	meta, ok := a.GetObject().(metav1.Object)
	if !ok {
		return fmt.Errorf("unexpected object %T", a.GetObject())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pods[a.GetName()] = &seenPod{labels: meta.GetLabels()}
	return nil
}

func (r *recorder) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if strings.HasPrefix(a.GetName(), "refused") {
		return admission.NewForbidden(a, errors.New("the host would not take it"))
	}
	return nil
}

func (r *recorder) findSeen(name string) *seenPod {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pods[name]
}

// testPoliciesAreTypeChecked creates the first admission policy, which is what
// its controller waits for.
func testPoliciesAreTypeChecked(t *testing.T, p *plane) {
	policies := p.client.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	_, err := policies.Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "wrong"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
					RuleWithOperations: admissionregistrationv1.RuleWithOperations{
						Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
						Rule: admissionregistrationv1.Rule{
							APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"},
						},
					},
				}},
			},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.spec.replicas > '1'"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "type check of a policy", func(ctx context.Context) string {
		policy, err := policies.Get(ctx, "wrong", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if policy.Status.TypeChecking == nil || len(policy.Status.TypeChecking.ExpressionWarnings) != 1 {
			return fmt.Sprintf("got %v, want one warning", policy.Status.TypeChecking)
		}
		return ""
	})
}

func testAdmissionRunsLast(t *testing.T, p *plane, steps *recorder) {
	ns := namespace(t, p, "admission")
	url := newLabelWebhook(t, p.bundle)
	fail, none := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
	_, err := p.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(),
		&admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "label"},
			Webhooks: []admissionregistrationv1.MutatingWebhook{{
				Name:                    "label.example.com",
				ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: p.bundle.CA()},
				FailurePolicy:           &fail,
				SideEffects:             &none,
				AdmissionReviewVersions: []string{"v1"},
				NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: ns}},
				Rules: []admissionregistrationv1.RuleWithOperations{{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule: admissionregistrationv1.Rule{
						APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
					},
				}},
			}},
		}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	eventually(t, "webhook in force", func(ctx context.Context) string {
		tries++
		name := fmt.Sprintf("try-%d", tries)
		created, err := p.client.CoreV1().Pods(ns).Create(ctx, pod(name), metav1.CreateOptions{})
		if err != nil {
			return err.Error()
		}
		if created.Labels["webhook"] != "was-here" {
			return "the webhook has not been called"
		}
		if saw := steps.findSeen(name); saw == nil || saw.labels["webhook"] != "was-here" {
			t.Errorf("our step ran before the webhook: it saw %v", saw)
		}
		return ""
	})
	_, err = p.client.CoreV1().Pods(ns).Create(t.Context(), pod("refused"), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "the host would not take it") {
		t.Errorf("a pod that our step refuses: got %v, want its reason", err)
	}
}
