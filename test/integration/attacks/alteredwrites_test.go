package attacks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// alteration is what a policy of the tenant makes of the writes of the syncer to one object.
type alteration struct {
	resource string
	object   client.Object
	// path and value are those of a field that no request of the tenant may set.
	path, value string
	// denial is a part of the denial.
	denial string
}

// name returns the name of the policy, of its binding and of the object.
func (a alteration) name() string { return a.object.GetName() }

// policy returns the policy of the tenant that alters the object, and its binding.
func (a alteration) policy() []client.Object {
	fail := admissionregistrationv1.Fail
	return []client.Object{&admissionregistrationv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: a.name()},
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			FailurePolicy: &fail, ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
			MatchConditions: []admissionregistrationv1.MatchCondition{{
				Name:       "syncer",
				Expression: "request.userInfo.username == 'system:sublet:syncer' && object.metadata.name == '" + a.name() + "'",
			}},
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"*"}, Resources: []string{a.resource}},
				},
			}}},
			Mutations: []admissionregistrationv1.Mutation{{
				PatchType: admissionregistrationv1.PatchTypeJSONPatch,
				JSONPatch: &admissionregistrationv1.JSONPatch{
					Expression: fmt.Sprintf(`[JSONPatch{op: "add", path: %q, value: %s}]`, a.path, a.value),
				},
			}},
		},
	}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: a.name()},
		Spec:       admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: a.name()},
	}}
}

// isRefused returns an error until the virtual API server has refused a write of the syncer. An Event reports that. It
// returns nil too if the object has the value.
func (a alteration) isRefused(ctx context.Context, s *site) error {
	if err := s.tenant.Get(ctx, client.ObjectKeyFromObject(a.object), a.object); err != nil {
		return err
	}
	if a.hasValue(a.object) {
		return nil
	}
	var events corev1.EventList
	if err := s.tenant.List(ctx, &events, client.InNamespace(virtualNamespace)); err != nil {
		return err
	}
	for i := range events.Items {
		if e := &events.Items[i]; e.InvolvedObject.Name == a.name() && e.Reason == "VirtualRefused" && strings.Contains(e.Message, a.denial) {
			return nil
		}
	}
	return errors.New("no Event reports the denial")
}

// hasValue reports whether an object has the value that the policy of the tenant writes.
func (a alteration) hasValue(object client.Object) bool {
	switch object := object.(type) {
	case *corev1.Pod:
		return strings.Contains(a.value, object.Spec.Containers[0].Image)
	case *corev1.Service:
		return a.value == fmt.Sprint(object.Spec.Ports[0].NodePort)
	}
	return false
}

// evaluatedAlterations lets policies of the tenant alter what the syncer writes, for which no rule holds. The tenant
// makes the syncer write by a mark that it clears.
func evaluatedAlterations(t *testing.T, s *site) {
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:sublet:syncer", Groups: []string{"system:masters"}}
	impersonated, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []alteration{{
		resource: "pods", object: newPod("altered-pod", nil), denial: "an ID is any image that the node has",
		path: "/spec/containers/0/image", value: `"sha256:3f57d9401f8d42f986df300f0c69192fc41da28ccc8d797829467780db3dd741"`,
	}, {
		resource: "services", denial: "policies.services.explicitNodePorts", path: "/spec/ports/0/nodePort", value: "31288",
		object: newService("altered-service", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}}),
	}} {
		s.create(t, a.object)
		host, _ := a.object.DeepCopyObject().(client.Object)
		s.hostCopy(t, client.ObjectKeyFromObject(a.object), host)
		s.create(t, a.policy()...)
		mark := mergePatch(`{"metadata":{"annotations":{"` + labels.Removed + `":"x"}}}`)
		eventually(t, "the policy of "+a.name(), func(ctx context.Context) error {
			probe, _ := a.object.DeepCopyObject().(client.Object)
			if err := impersonated.Patch(ctx, probe, mark, client.DryRunAll); !apierrors.IsForbidden(err) {
				return fmt.Errorf("got %w", err)
			}
			return nil
		})
		marked, _ := a.object.DeepCopyObject().(client.Object)
		if err := s.tenant.Patch(t.Context(), marked, mark); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a write of the syncer to "+a.name(), func(ctx context.Context) error { return a.isRefused(ctx, s) })
		if a.hasValue(a.object) {
			t.Errorf("%s: the tenant's policy has set %s to %s", a.name(), a.path, a.value)
		}
		if found, err := s.findCopy(t.Context(), client.ObjectKeyFromObject(a.object), host); err != nil || !found || a.hasValue(host) {
			t.Errorf("%s: the host copy, there %t, has the value, or %v", a.name(), found, err)
		}
	}
}
