package controlplane

import (
	"context"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// storePolicy stores a policy that denies each create and update of a resource.
func storePolicy(t *testing.T, p *plane, resource string) {
	t.Helper()
	fail := admissionregistrationv1.Fail
	api := p.client.AdmissionregistrationV1()
	_, err := api.ValidatingAdmissionPolicies().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "deny"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{resource}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "false", Message: "denied by the tenant"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "deny"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "deny", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// awaitDenial waits until the API server denies service accounts of the tenant.
func awaitDenial(t *testing.T, p *plane) {
	t.Helper()
	eventually(t, "denial", func(ctx context.Context) string {
		_, err := p.client.CoreV1().ServiceAccounts("default").Create(ctx,
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}},
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		// A webhook that is gone fails with an internal error.
		if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) && !apierrors.IsInternalError(err) {
			return fmt.Sprintf("a service account: got %v, want a denial", err)
		}
		return ""
	})
}

// deadService returns the client configuration of a webhook that nobody serves.
func deadService() admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "gone"}}
}

// everything returns a rule that matches each object of each type.
func everything() []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationAll},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
	}}
}

// deadWebhook returns a webhook for everything that nobody serves.
func deadWebhook() admissionregistrationv1.ValidatingWebhook {
	none, timeout := admissionregistrationv1.SideEffectClassNone, int32(30)
	return admissionregistrationv1.ValidatingWebhook{
		Name: "gone.example.com", ClientConfig: deadService(), Rules: everything(), SideEffects: &none,
		TimeoutSeconds: &timeout, AdmissionReviewVersions: []string{"v1"},
	}
}

// storeWebhook stores a validating webhook for everything that nobody serves.
func storeWebhook(t *testing.T, p *plane) {
	t.Helper()
	_, err := p.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(),
		&admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "gone"},
			Webhooks:   []admissionregistrationv1.ValidatingWebhook{deadWebhook()},
		}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	awaitDenial(t, p)
}

// storeMutatingWebhook stores a mutating webhook for everything that nobody serves.
func storeMutatingWebhook(t *testing.T, p *plane) {
	t.Helper()
	dead := deadWebhook()
	_, err := p.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(),
		&admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "gone"},
			Webhooks: []admissionregistrationv1.MutatingWebhook{{
				Name: dead.Name, ClientConfig: dead.ClientConfig, Rules: dead.Rules, SideEffects: dead.SideEffects,
				TimeoutSeconds: dead.TimeoutSeconds, AdmissionReviewVersions: dead.AdmissionReviewVersions,
			}},
		}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	awaitDenial(t, p)
}

// storeQuota stores quotas of zero in the system namespaces.
func storeQuota(t *testing.T, p *plane) {
	t.Helper()
	for _, namespace := range systemNamespaces() {
		_, err := p.client.CoreV1().ResourceQuotas(namespace).Create(t.Context(), &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Name: "none"},
			Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
				"services": resource.MustParse("0"), "count/serviceaccounts": resource.MustParse("0"),
				"count/roles.rbac.authorization.k8s.io": resource.MustParse("0"),
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	awaitDenial(t, p)
}

// allWrites returns a rule that matches creates and updates of all resources.
func allWrites() []admissionregistrationv1.NamedRuleWithOperations {
	return []admissionregistrationv1.NamedRuleWithOperations{{
		RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*"}},
		},
	}}
}

// storeMutatingPolicy stores a policy that changes the labels of each object to what an
// expression returns.
func storeMutatingPolicy(t *testing.T, p *plane, label string) {
	t.Helper()
	fail := admissionregistrationv1.Fail
	api := p.client.AdmissionregistrationV1()
	_, err := api.MutatingAdmissionPolicies().Create(t.Context(), &admissionregistrationv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "change"},
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			FailurePolicy: &fail, ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: allWrites()},
			Mutations: []admissionregistrationv1.Mutation{{
				PatchType: admissionregistrationv1.PatchTypeApplyConfiguration,
				ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{
					Expression: `Object{metadata: Object.metadata{labels: {"changed": ` + label + `}}}`,
				},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.MutatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "change"},
		Spec:       admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: "change"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// awaitChange waits until the API server changes service accounts of the tenant.
func awaitChange(t *testing.T, p *plane) {
	t.Helper()
	eventually(t, "change", func(ctx context.Context) string {
		account, err := p.client.CoreV1().ServiceAccounts("default").Create(ctx,
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}},
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case err != nil:
			return err.Error()
		case account.Labels["changed"] == "":
			return "the policy does not apply"
		}
		return ""
	})
}

// storeBrokenPolicy stores a policy whose expression fails at each object, or one whose
// parameter is of a kind that does not exist.
func storeBrokenPolicy(t *testing.T, p *plane, param *admissionregistrationv1.ParamKind) {
	t.Helper()
	fail, deny := admissionregistrationv1.Fail, admissionregistrationv1.DenyAction
	api := p.client.AdmissionregistrationV1()
	_, err := api.ValidatingAdmissionPolicies().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "broken"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail, ParamKind: param,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: allWrites()},
			Validations:      []admissionregistrationv1.Validation{{Expression: "object.nothing.here == 1"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "broken"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "broken", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	if param != nil {
		binding.Spec.ParamRef = &admissionregistrationv1.ParamRef{Name: "gone", ParameterNotFoundAction: &deny}
	}
	if _, err := api.ValidatingAdmissionPolicyBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitDenial(t, p)
}

// TestTenantAdmissionHoldsForTenants makes sure that the exemption is not for
// anybody else, in the process or outside.
func TestTenantAdmissionHoldsForTenants(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{})
	storePolicy(t, p, "configmaps")
	clients := map[string]func() error{
		"part of the process": func() error { return createConfigMap(t, p.client) },
		"tenant":              func() error { return createConfigMap(t, clientOf(t, p.kubeconfig(t, "admin", pki.GroupAdmins))) },
		"tenant as the API server": func() error {
			config := p.kubeconfig(t, "admin", pki.GroupAdmins)
			config.Impersonate.UserName = "system:apiserver"
			config.Impersonate.Groups = []string{pki.GroupAdmins}
			return createConfigMap(t, clientOf(t, config))
		},
	}
	for who, create := range clients {
		eventually(t, who, func(context.Context) string {
			if err := create(); err == nil || !strings.Contains(err.Error(), "denied by the tenant") {
				return "the policy does not apply"
			}
			return ""
		})
	}
}

// TestTenantAdmissionLeavesCopies makes sure that no policy of a tenant changes or denies the
// copy of a host object. This is for the syncer and for copies alone.
func TestTenantAdmissionLeavesCopies(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{})
	storeMutatingPolicy(t, p, `"yes"`)
	awaitChange(t, p)
	syncer := clientOf(t, p.SyncerConfig("system:sublet:syncer"))
	mark := map[string]string{labels.HostUID: "uid"}
	for _, c := range []struct {
		reason      string
		client      kubernetes.Interface
		annotations map[string]string
		changed     bool
	}{
		{"a copy of a host object", syncer, mark, false},
		{"a definition of Sublet", syncer, map[string]string{labels.Definition: "digest"}, false},
		{"another object of the syncer", syncer, nil, true},
		{"a mark by another part of the process", p.client, mark, true},
		{"a mark by a tenant", clientOf(t, p.kubeconfig(t, "admin", pki.GroupAdmins)), mark, true},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "node-", Annotations: c.annotations}}
		created, err := c.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
		if err != nil {
			t.Fatalf("%s: %v", c.reason, err)
		}
		if got := created.Labels["changed"] != ""; got != c.changed {
			t.Errorf("%s: changed by the tenant's policy: %t, want %t", c.reason, got, c.changed)
		}
	}
	storeBrokenPolicy(t, p, nil)
	copied, err := syncer.CoreV1().Nodes().Create(t.Context(),
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "copy", Annotations: mark}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("the tenant's policy denies a copy: %v", err)
	}
	copied.Labels = map[string]string{"of": "the-host"}
	if _, err := syncer.CoreV1().Nodes().Update(t.Context(), copied, metav1.UpdateOptions{}); err != nil {
		t.Errorf("the tenant's policy denies the update of a copy: %v", err)
	}
	if err := syncer.CoreV1().Nodes().Delete(t.Context(), copied.Name, metav1.DeleteOptions{}); err != nil {
		t.Errorf("the tenant's policy denies the deletion of a copy: %v", err)
	}
	leases := clientOf(t, p.KeeperConfig("system:sublet:election")).CoordinationV1().Leases(metav1.NamespaceSystem)
	lease, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "leader"}}, metav1.CreateOptions{})
	if err == nil {
		lease.Spec.HolderIdentity = new("replica-1")
		_, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Errorf("the tenant's policy denies the lease of the leader: %v", err)
	}
}

// clientOf returns a client with a configuration.
func clientOf(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// createConfigMap tries to create a ConfigMap.
func createConfigMap(t *testing.T, client kubernetes.Interface) error {
	t.Helper()
	_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "mine-"}}, metav1.CreateOptions{})
	return err
}
