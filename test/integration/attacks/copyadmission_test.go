package attacks

import (
	"context"
	"errors"
	"fmt"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// copiedClass begins the names of the storage classes that the tenant's policies are about.
const copiedClass = "copied-"

// ofClasses returns what policies match: requests about the storage classes of this attack.
func ofClasses(operations ...admissionregistrationv1.OperationType) *admissionregistrationv1.MatchResources {
	return &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
		RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: operations,
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{"storage.k8s.io"}, APIVersions: []string{"*"}, Resources: []string{"storageclasses"}},
		},
	}}}
}

// storeCopyPolicies stores a policy of the tenant that changes storage classes, and one that
// denies their deletion.
func storeCopyPolicies(t *testing.T, s *site) {
	t.Helper()
	fail := admissionregistrationv1.Fail
	condition := func(object string) []admissionregistrationv1.MatchCondition {
		return []admissionregistrationv1.MatchCondition{{Name: "name", Expression: object + ".metadata.name.startsWith('" + copiedClass + "')"}}
	}
	s.create(t, &admissionregistrationv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "forge-copies"},
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			FailurePolicy: &fail, ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy, MatchConditions: condition("object"),
			MatchConstraints: ofClasses(admissionregistrationv1.Create, admissionregistrationv1.Update),
			Mutations: []admissionregistrationv1.Mutation{{
				PatchType: admissionregistrationv1.PatchTypeJSONPatch,
				JSONPatch: &admissionregistrationv1.JSONPatch{Expression: `[
					JSONPatch{op: "add", path: "/metadata/finalizers", value: ["example.com/mine"]},
					JSONPatch{op: "replace", path: "/provisioner", value: "forged.example.com"}]`},
			}},
		},
	}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "forge-copies"},
		Spec:       admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: "forge-copies"},
	}, &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "keep-copies"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail, MatchConditions: condition("oldObject"), MatchConstraints: ofClasses(admissionregistrationv1.Delete),
			Validations: []admissionregistrationv1.Validation{{Expression: "false", Message: "the tenant keeps it"}},
		},
	}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "keep-copies"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "keep-copies", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	})
	own := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: copiedClass + "own"}, Provisioner: "own.example.com"}
	eventually(t, "the policy that changes classes", func(ctx context.Context) error {
		probe := own.DeepCopy()
		probe.Name = copiedClass + "probe"
		if err := s.tenant.Create(ctx, probe, client.DryRunAll); err != nil || probe.Provisioner == own.Provisioner {
			return fmt.Errorf("provisioner %s, %w", probe.Provisioner, err)
		}
		return nil
	})
	s.create(t, own)
	eventually(t, "the policy that denies deletions", func(ctx context.Context) error {
		if err := s.tenant.Delete(ctx, own, client.DryRunAll); !apierrors.IsInvalid(err) {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
}

// untouchedCopies lets policies of the tenant change the copy of a host object, and keep it when
// the host does not show it any more. What the syncer marks as a copy would then prove nothing.
func untouchedCopies(t *testing.T, s *site) {
	storeCopyPolicies(t, s)
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: copiedClass + "hosts"}, Provisioner: "hosts.example.com"}
	if err := s.owner.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	var copied storagev1.StorageClass
	eventually(t, "the copy", func(ctx context.Context) error { return s.tenant.Get(ctx, client.ObjectKeyFromObject(class), &copied) })
	if copied.Provisioner != class.Provisioner || len(copied.Finalizers) > 0 {
		t.Errorf("the tenant's policy has changed the copy: provisioner %s, finalizers %v", copied.Provisioner, copied.Finalizers)
	}
	if err := s.owner.Delete(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the copy", func(ctx context.Context) error {
		if err := s.tenant.Get(ctx, client.ObjectKeyFromObject(class), &copied); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("it is there"), err)
		}
		return nil
	})
}
