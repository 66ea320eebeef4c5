package attacks

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// deniedCosts stores kilobytes of which the control plane would make gigabytes, again at each start.
func deniedCosts(t *testing.T, s *site) {
	role, err := s.kube.RbacV1().ClusterRoles().Get(t.Context(), "system:basic-user", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	many := slices.Repeat([]string{"x"}, 100)
	role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: many, Resources: many, Verbs: many, ResourceNames: many})
	_, err = s.kube.RbacV1().ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{})
	wantDenied(t, "a default role with 10^8 permissions", err, "1e+08 permissions")

	wantDenied(t, "defaults that multiply", s.tenant.Create(t.Context(), definitionWithDefaults(t, 300)), "defaults of at least 1000000 values")
	s.create(t, definitionWithDefaults(t, 2))
	wantDenied(t, "a definition that no list can have", s.tenant.Create(t.Context(), definitionWithExample(t, 9993)), "nested so deeply")

	variables := []admissionregistrationv1.Variable{{Name: "v0", Expression: "[true, true]"}}
	for i := range 40 {
		variables = append(variables, admissionregistrationv1.Variable{Name: fmt.Sprintf("v%d", i+1), Expression: fmt.Sprintf("[variables.v%[1]d, variables.v%[1]d]", i)})
	}
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "doubled"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				},
			}}},
			Variables: variables, Validations: []admissionregistrationv1.Validation{{Expression: "variables.v40 == variables.v40"}},
		},
	}
	wantDenied(t, "a value of 2^40 parts", s.tenant.Create(t.Context(), policy), "parts in an expression")
	policy.Spec.Variables, policy.Spec.Validations[0].Expression = variables[:2], "variables.v1 == variables.v1"
	s.create(t, policy)

	job := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: "endless"},
		Spec: batchv1.CronJobSpec{
			Schedule: "0 0 29 2 *", StartingDeadlineSeconds: new(int64(16_190_000_000)),
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: newPod("", func(p *corev1.Pod) {
				p.Spec.RestartPolicy = corev1.RestartPolicyNever
			}).Spec}}},
		},
	}
	wantDenied(t, "a deadline before which all runs are counted for ever", s.tenant.Create(t.Context(), job), "spec.startingDeadlineSeconds")
	job.Spec.StartingDeadlineSeconds = new(int64(200))
	s.create(t, job)
}

// definitionWithExample returns a definition with lists in one another.
func definitionWithExample(t *testing.T, levels int) *unstructured.Unstructured {
	t.Helper()
	definition := definitionWithDefaults(t, 1)
	definition.SetName("deeps.attacks.example.com")
	var example any = []any{}
	for range levels - 1 {
		example = []any{example}
	}
	versions, _, err := unstructured.NestedSlice(definition.Object, "spec", "versions")
	if err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(versions[0].(map[string]any), example, "schema", "openAPIV3Schema", "example"); err != nil {
		t.Fatal(err)
	}
	definition.Object["spec"].(map[string]any)["versions"] = versions
	definition.Object["spec"].(map[string]any)["names"] = map[string]any{"plural": "deeps", "singular": "deep", "kind": "Deep", "listKind": "DeepList"}
	return definition
}

// definitionWithDefaults returns a definition with three lists in one another. By default, each has so many items.
func definitionWithDefaults(t *testing.T, items int) *unstructured.Unstructured {
	t.Helper()
	list := strings.Repeat("{}, ", items)
	text := fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: nests.attacks.example.com}
spec:
  group: attacks.example.com
  scope: Namespaced
  names: {plural: nests, singular: nest, kind: Nest, listKind: NestList}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties:
                a:
                  type: array
                  default: [%[1]s]
                  items:
                    type: object
                    properties:
                      b:
                        type: array
                        default: [%[1]s]
                        items: {type: object, properties: {c: {type: array, default: [%[1]s], items: {type: object}}}}
`, list)
	definition := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &definition.Object); err != nil {
		t.Fatal(err)
	}
	return definition
}
