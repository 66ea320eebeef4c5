package controlplane

import (
	"context"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// dnsAddress is the address of the Service kube-dns in these tests.
const dnsAddress = "10.96.0.10"

// TestRestartWhateverATenantStored restarts a control plane after its tenant has
// stored something that denies or delays what a bootstrap creates.
func TestRestartWhateverATenantStored(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		store  func(t *testing.T, p *plane)
		// missing is the object that cannot be created, empty if all can.
		missing string
	}{
		"PolicyDeniesServiceAccounts": {
			reason: "a hardening guide's policy must not outlive a restart",
			store: func(t *testing.T, p *plane) {
				storePolicy(t, p, "serviceaccounts")
				awaitDenial(t, p)
			},
		},
		"PolicyDeniesEverything": {
			reason: "a policy for all resources also covers leases, endpoints and API services",
			store: func(t *testing.T, p *plane) {
				storePolicy(t, p, "*")
				awaitDenial(t, p)
				deleteSystemObjects(t, p)
			},
		},
		"WebhookThatIsGone": {
			reason: "nobody answers the webhook's calls any more, and failing them denies",
			store: func(t *testing.T, p *plane) {
				deleteSystemObjects(t, p)
				storeWebhook(t, p)
			},
		},
		"MutatingWebhookThatIsGone": {
			reason: "a mutating webhook denies in the same way",
			store: func(t *testing.T, p *plane) {
				deleteSystemObjects(t, p)
				storeMutatingWebhook(t, p)
			},
		},
		"Quota": {
			reason: "no Service and no object of any kind fits into the system namespaces",
			store: func(t *testing.T, p *plane) {
				storeQuota(t, p)
				deleteSystemObjects(t, p)
			},
		},
		"TerminatingNamespace": {
			reason:  "nothing can be created in a namespace that a finalizer holds",
			store:   holdNamespace,
			missing: "service account kube-node-lease/default",
		},
		"TakenAddress": {
			reason:  "the address of kube-dns belongs to another Service",
			store:   takeDNSAddress,
			missing: "service kube-system/kube-dns",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, bundle := t.TempDir(), newBundle(t)
			config := func() Config {
				return Config{
					Storage: throwAway(dir), PKI: bundle, AdvertiseAddress: mustIP("10.1.2.3"),
					ServiceCIDR: "10.96.0.0/16", DNSServiceIP: mustIP(dnsAddress),
				}
			}
			first := launch(t, config())
			tc.store(t, first)
			stopInTime(t, first)

			second := launch(t, config())
			checkMissing(t, second, tc.missing)
			if _, err := second.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
				t.Errorf("%s: the API does not answer after the restart: %v", tc.reason, err)
			}
		})
	}
}

// checkMissing compares what a control plane reports as missing.
func checkMissing(t *testing.T, p *plane, want string) {
	t.Helper()
	for _, check := range p.Checks() {
		if check.Name != "system objects" {
			continue
		}
		if healthy := want == ""; check.Healthy != healthy || !strings.Contains(check.Message, want) {
			t.Errorf("system objects: got %v %q, want healthy %v with %q", check.Healthy, check.Message, healthy, want)
		}
		return
	}
	t.Error("no check reports on the system objects")
}

// TestMissingObjectsComeBack removes the reason for a denial while the control
// plane runs.
func TestMissingObjectsComeBack(t *testing.T) {
	t.Parallel()
	dir, bundle := t.TempDir(), newBundle(t)
	first := launch(t, Config{Storage: throwAway(dir), PKI: bundle})
	holdNamespace(t, first)
	stopInTime(t, first)

	second := launch(t, Config{Storage: throwAway(dir), PKI: bundle})
	_, err := second.client.CoreV1().ConfigMaps(corev1.NamespaceNodeLease).Patch(t.Context(), "holder", types.MergePatchType,
		[]byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "service account of the namespace", func(ctx context.Context) string {
		_, err := second.client.CoreV1().ServiceAccounts(corev1.NamespaceNodeLease).Get(ctx, "default", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for _, check := range second.Checks() {
			if !check.Healthy {
				return check.Name + ": " + check.Message
			}
		}
		return ""
	})
}

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
		if err == nil {
			return "the API server takes a service account"
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

// storeWebhook stores a validating webhook for everything that nobody serves.
func storeWebhook(t *testing.T, p *plane) {
	t.Helper()
	none, timeout := admissionregistrationv1.SideEffectClassNone, int32(30)
	_, err := p.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(),
		&admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "gone"},
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name: "gone.example.com", ClientConfig: deadService(), Rules: everything(), SideEffects: &none,
				TimeoutSeconds: &timeout, AdmissionReviewVersions: []string{"v1"},
			}},
		}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	awaitDenial(t, p)
}

// storeMutatingWebhook stores a mutating webhook for everything that nobody serves.
func storeMutatingWebhook(t *testing.T, p *plane) {
	t.Helper()
	none, timeout := admissionregistrationv1.SideEffectClassNone, int32(30)
	_, err := p.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(),
		&admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "gone"},
			Webhooks: []admissionregistrationv1.MutatingWebhook{{
				Name: "gone.example.com", ClientConfig: deadService(), Rules: everything(), SideEffects: &none,
				TimeoutSeconds: &timeout, AdmissionReviewVersions: []string{"v1"},
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

// deleteSystemObjects deletes some of what the bootstrap has created, as a tenant may.
func deleteSystemObjects(t *testing.T, p *plane) {
	t.Helper()
	for what, err := range map[string]error{
		"service":         p.client.CoreV1().Services("kube-system").Delete(t.Context(), "kube-dns", metav1.DeleteOptions{}),
		"service account": p.client.CoreV1().ServiceAccounts("kube-public").Delete(t.Context(), "default", metav1.DeleteOptions{}),
		"cluster role":    p.client.RbacV1().ClusterRoles().Delete(t.Context(), "view", metav1.DeleteOptions{}),
		"role":            p.client.RbacV1().Roles("kube-system").Delete(t.Context(), "extension-apiserver-authentication-reader", metav1.DeleteOptions{}),
		"priority class":  p.client.SchedulingV1().PriorityClasses().Delete(t.Context(), "system-node-critical", metav1.DeleteOptions{}),
	} {
		if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
			t.Fatalf("cannot delete a %s: %v", what, err)
		}
	}
}

// holdNamespace deletes kube-node-lease, which a finalizer keeps.
func holdNamespace(t *testing.T, p *plane) {
	t.Helper()
	const namespace = corev1.NamespaceNodeLease
	_, err := p.client.CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "holder", Finalizers: []string{"example.com/hold"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.client.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "service account", func(ctx context.Context) string {
		_, err := p.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return "it is still there"
		}
		return ""
	})
}

// takeDNSAddress gives the address of kube-dns to a Service of the tenant's.
func takeDNSAddress(t *testing.T, p *plane) {
	t.Helper()
	if err := p.client.CoreV1().Services("kube-system").Delete(t.Context(), "kube-dns", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "address", func(ctx context.Context) string {
		_, err := p.client.CoreV1().Services("default").Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "thief"},
			Spec:       corev1.ServiceSpec{ClusterIP: dnsAddress, Ports: []corev1.ServicePort{{Port: 80}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return err.Error()
		}
		return ""
	})
}

// TestTenantAdmissionHoldsForTenants makes sure that the exemption is not for
// anybody else, in the process or outside.
func TestTenantAdmissionHoldsForTenants(t *testing.T) {
	t.Parallel()
	p := launch(t, Config{})
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
