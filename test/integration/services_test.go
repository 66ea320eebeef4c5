package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
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

// TestTenantServesBalancer creates load balancers of a class of the tenant's own. Nothing on the
// host serves them, and what the tenant's controller writes to their status stays.
func TestTenantServesBalancer(t *testing.T) {
	r := newRelease(t)
	rules := policy.NewServices(v1alpha1.Default().Policies.Services)
	r.startSome(t, r.allKinds(func(o *kinds.Options) { o.Services = rules }), "services")
	for name, change := range map[string]func(*corev1.ServiceSpec){
		"usual": func(*corev1.ServiceSpec) {},
		"local": func(s *corev1.ServiceSpec) {
			s.ExternalTrafficPolicy, s.LoadBalancerSourceRanges = corev1.ServiceExternalTrafficPolicyLocal, []string{"192.0.2.0/24"}
		},
		"no-ports": func(s *corev1.ServiceSpec) { s.AllocateLoadBalancerNodePorts = new(false) },
	} {
		service := r.service(name)
		service.Spec.Type, service.Spec.LoadBalancerClass = corev1.ServiceTypeLoadBalancer, new("example.com/own")
		change(&service.Spec)
		if err := r.virtual.client.Create(t.Context(), service); err != nil {
			t.Fatal(err)
		}
		r.sameService(t, service)
		service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.20"}}
		if err := r.virtual.client.Status().Update(t.Context(), service); err != nil {
			t.Fatal(err)
		}
		before := service.DeepCopy()
		service.Labels = map[string]string{"changed": "yes"}
		if err := r.virtual.client.Patch(t.Context(), service, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		host := &corev1.Service{}
		eventually(t, "the host has the change", func(ctx context.Context) error {
			err := r.host.client.Get(ctx, r.hostKey(name), host)
			if err == nil && !slices.Contains(slices.Collect(maps.Values(host.Labels)), "yes") {
				err = fmt.Errorf("labels %v", host.Labels)
			}
			return err
		})
		if host.Spec.Type == corev1.ServiceTypeLoadBalancer || host.Spec.LoadBalancerClass != nil {
			t.Errorf("%s: the host may serve it, as type %s", name, host.Spec.Type)
		}
		if err := r.virtual.client.Get(t.Context(), client.ObjectKeyFromObject(service), service); err != nil {
			t.Fatal(err)
		}
		if got := service.Status.LoadBalancer.Ingress; len(got) != 1 || got[0].IP != "192.0.2.20" || service.Spec.Type != corev1.ServiceTypeLoadBalancer {
			t.Errorf("%s: type %s, status %v", name, service.Spec.Type, got)
		}
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
