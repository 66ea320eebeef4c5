//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestNothingBricks does to one release what a tenant or an operator may do, and
// restarts it. Each time it is ready again without a restart of its container.
func TestNothingBricks(t *testing.T) {
	t.Parallel()
	tn := install(t, "brick", "brick")
	for _, step := range []struct {
		name string
		run  func(*testing.T, *tenant)
	}{
		{"RefusingPolicy", testRefusingPolicy},
		{"DeadWebhook", testDeadWebhook},
		{"Quota", testRefusingQuota},
		{"TerminatingNodeLease", testTerminatingNodeLease},
		{"LostKubeconfig", testLostKubeconfig},
		{"LostCertificates", testLostCertificates},
		{"OperatorPort", testOperatorPort},
		{"TenantOperator", testTenantOperator},
	} {
		t.Run(step.name, func(t *testing.T) { step.run(t, tn.in(t)) })
	}
}

// controlPlanePod returns the name of the release's only pod.
func (tn *tenant) controlPlanePod() string { return tn.release + "-0" }

// restart deletes the pod of the control plane. It returns when the next one is ready,
// and fails if its container had to be restarted for that.
func (tn *tenant) restart() {
	tn.t.Helper()
	ctx := tn.t.Context()
	pods := hostClient.CoreV1().Pods(tn.namespace)
	before, err := pods.Get(ctx, tn.controlPlanePod(), metav1.GetOptions{})
	if err != nil {
		tn.t.Fatalf("cannot get pod of the control plane: %v", err)
	}
	if err := pods.Delete(ctx, before.Name, metav1.DeleteOptions{}); err != nil {
		tn.t.Fatalf("cannot delete pod of the control plane: %v", err)
	}
	eventually(tn.t, "the control plane is ready after a restart", func(ctx context.Context) error {
		pod, err := pods.Get(ctx, before.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if pod.UID == before.UID || !isReady(pod) {
			return fmt.Errorf("pod %s (%s) is not ready", pod.Name, pod.UID)
		}
		return nil
	})
	pod, err := pods.Get(ctx, before.Name, metav1.GetOptions{})
	if err != nil {
		tn.t.Fatal(err)
	}
	if n := pod.Status.ContainerStatuses[0].RestartCount; n > 0 {
		tn.t.Errorf("the control plane was restarted %d times until it was ready", n)
	}
	tn.awaitReady()
}

// isReady reports whether the pod has the condition Ready.
func isReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// awaitDenied waits until the virtual API denies service accounts in default. A dry
// run passes admission as a create does.
func (tn *tenant) awaitDenied() {
	tn.t.Helper()
	eventually(tn.t, "service accounts are denied", func(ctx context.Context) error {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}}
		_, err := tn.virtual.CoreV1().ServiceAccounts("default").Create(ctx, account, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return fmt.Errorf("a service account was accepted")
		}
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsInternalError(err) {
			return nil
		}
		return err
	})
}

// testRefusingPolicy restarts under a policy that denies service accounts and
// everything that a start creates.
func testRefusingPolicy(t *testing.T, tn *tenant) {
	policies := tn.virtual.AdmissionregistrationV1()
	fail := admissionregistrationv1.Fail
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "nothing"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: allCreates(),
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "false", Message: "nothing is created here"}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "nothing"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "nothing", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	if _, err := policies.ValidatingAdmissionPolicies().Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := policies.ValidatingAdmissionPolicyBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	tn.awaitDenied()
	tn.restart()
	if err := policies.ValidatingAdmissionPolicyBindings().Delete(t.Context(), "nothing", metav1.DeleteOptions{}); err != nil {
		t.Errorf("the tenant cannot undo it: %v", err)
	}
	if err := policies.ValidatingAdmissionPolicies().Delete(t.Context(), "nothing", metav1.DeleteOptions{}); err != nil {
		t.Errorf("the tenant cannot undo it: %v", err)
	}
}

// allCreates matches the creates of the kinds that a start needs.
func allCreates() admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{"", "rbac.authorization.k8s.io", "scheduling.k8s.io", "discovery.k8s.io", "coordination.k8s.io"}, APIVersions: []string{"*"},
			Resources: []string{"*"},
		},
	}
}

// testDeadWebhook restarts under a webhook that nobody answers.
func testDeadWebhook(t *testing.T, tn *tenant) {
	fail, none, seconds := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone, int32(1)
	webhook := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "dead"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "dead.example.com", FailurePolicy: &fail, SideEffects: &none, TimeoutSeconds: &seconds,
			AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				Service: &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "gone"},
			},
			Rules: []admissionregistrationv1.RuleWithOperations{allCreates()},
		}},
	}
	webhooks := tn.virtual.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := webhooks.Create(t.Context(), webhook, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	tn.awaitDenied()
	tn.restart()
	if err := webhooks.Delete(t.Context(), "dead", metav1.DeleteOptions{}); err != nil {
		t.Errorf("the tenant cannot undo it: %v", err)
	}
}

// testRefusingQuota restarts under a quota that leaves no room in the namespaces of
// the control plane.
func testRefusingQuota(t *testing.T, tn *tenant) {
	for _, namespace := range []string{"default", "kube-system"} {
		quota := &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Name: "nothing"},
			Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
				"count/serviceaccounts": resource.MustParse("0"),
				"count/services":        resource.MustParse("0"),
				"count/configmaps":      resource.MustParse("0"),
			}},
		}
		eventually(t, "quota in "+namespace, func(ctx context.Context) error { // The webhook of the test before may still be asked.
			_, err := tn.virtual.CoreV1().ResourceQuotas(namespace).Create(ctx, quota, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
	}
	tn.awaitDenied()
	tn.restart()
	for _, namespace := range []string{"default", "kube-system"} {
		if err := tn.virtual.CoreV1().ResourceQuotas(namespace).Delete(t.Context(), "nothing", metav1.DeleteOptions{}); err != nil {
			t.Errorf("the tenant cannot undo it: %v", err)
		}
	}
}

// testTerminatingNodeLease restarts while a finalizer keeps kube-node-lease
// terminating. When it is gone at last, the control plane creates it again.
func testTerminatingNodeLease(t *testing.T, tn *tenant) {
	const namespace = "kube-node-lease"
	ctx := t.Context()
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{"example.com/hold"}}}
	if _, err := tn.virtual.CoreV1().ConfigMaps(namespace).Create(ctx, held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	before, err := tn.virtual.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tn.virtual.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		t.Skipf("the namespace cannot be deleted: %v", err)
	}
	tn.restart()
	patch := []byte(`{"metadata":{"finalizers":null}}`)
	if _, err := tn.virtual.CoreV1().ConfigMaps(namespace).Patch(ctx, "held", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, namespace+" is created again", func(ctx context.Context) error {
		now, err := tn.virtual.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if now.UID == before.UID {
			return fmt.Errorf("namespace %s is %s", namespace, now.Status.Phase)
		}
		return nil
	})
}

// testLostKubeconfig deletes and changes the tenant's kubeconfig Secret.
func testLostKubeconfig(t *testing.T, tn *tenant) {
	secrets, name := hostClient.CoreV1().Secrets(tn.namespace), tn.release+"-kubeconfig"
	repaired := func(ctx context.Context) error {
		secret, err := secrets.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !strings.Contains(string(secret.Data["config"]), "client-certificate-data") {
			return fmt.Errorf("it has no kubeconfig")
		}
		return nil
	}
	if err := secrets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	deleted := time.Now()
	eventually(t, "a deleted kubeconfig Secret is restored", repaired)
	figure("kubeconfig_restored", time.Since(deleted).Seconds(), "s")
	patch := []byte(`{"data":{"config":"bm90aGluZw=="}}`)
	if _, err := secrets.Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a changed kubeconfig Secret is restored", repaired)
}

// testLostCertificates deletes the Secret of the authorities. The copy on the
// volume restores it, so that all kubeconfigs stay valid.
func testLostCertificates(t *testing.T, tn *tenant) {
	secrets, name := hostClient.CoreV1().Secrets(tn.namespace), tn.release+"-certs"
	before, err := secrets.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := secrets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	tn.restart()
	var after *corev1.Secret
	eventually(t, "the Secret of the authorities is restored", func(ctx context.Context) error {
		after, err = secrets.Get(ctx, name, metav1.GetOptions{})
		return err
	})
	for key, value := range before.Data {
		if string(after.Data[key]) != string(value) {
			t.Errorf("%s is another one after the restart", key)
		}
	}
}
