package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestDeniedServiceNeverReachesTheHost creates Services that a policy of the tenant denies.
func TestDeniedServiceNeverReachesTheHost(t *testing.T) {
	r := newRelease(t)
	r.startKinds(t, "services")
	r.denyServices(t)
	service := func(name string) *corev1.Service {
		s := r.service(name)
		s.Spec.Type = corev1.ServiceTypeNodePort
		return s
	}
	eventually(t, "the policy is in force", func(ctx context.Context) error {
		err := r.virtual.client.Create(ctx, service("probe"), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "no services here") {
			return fmt.Errorf("a Service is denied with %w", err)
		}
		return nil
	})
	for i := range 12 {
		err := r.virtual.client.Create(t.Context(), service(fmt.Sprintf("denied-%d", i)))
		if !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "no services here") {
			t.Fatalf("got %v, want the policy's words", err)
		}
	}
	var left corev1.ServiceList
	err := r.host.client.List(t.Context(), &left, client.InNamespace(r.cluster.Namespace),
		client.MatchingLabels{labels.Namespace: r.namespace})
	if err != nil {
		t.Fatal(err)
	}
	if len(left.Items) > 0 {
		t.Errorf("a denied Service must leave nothing on the host: %d left, as %s", len(left.Items), left.Items[0].Name)
	}
}

// denyServices creates a policy of the tenant that denies all Services of the namespace.
func (r *release) denyServices(t *testing.T) {
	t.Helper()
	storePolicy(t, r.virtual.client, r.namespace, "false", "no services here", &admissionregistrationv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: r.namespace}},
		ResourceRules:     ruleFor(admissionregistrationv1.Create, "services"),
	})
}

// ruleFor returns a rule about an operation on a resource of the core group.
func ruleFor(operation admissionregistrationv1.OperationType, resource string) []admissionregistrationv1.NamedRuleWithOperations {
	return []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{operation},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource}},
	}}}
}

// storePolicy stores a ValidatingAdmissionPolicy and its binding until the test ends. It
// denies what the expression is false for, and with it what cannot be judged.
func storePolicy(t *testing.T, side client.Client, name, expression, message string, match *admissionregistrationv1.MatchResources) {
	t.Helper()
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy:    new(admissionregistrationv1.Fail),
			MatchConstraints: match,
			Validations:      []admissionregistrationv1.Validation{{Expression: expression, Message: message}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	for _, object := range []client.Object{policy, binding} {
		if err := side.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = side.Delete(context.WithoutCancel(t.Context()), object) })
	}
}
