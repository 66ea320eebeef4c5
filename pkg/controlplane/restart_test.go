package controlplane

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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
		// failing is the task that does not succeed, empty if all do.
		failing string
		// dns is the address of kube-dns after the restart, if it is another one.
		dns string
		// check checks the control plane after the restart.
		check func(t *testing.T, p *plane)
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
			store:   func(t *testing.T, p *plane) { takeAddress(t, p, "kube-system", "kube-dns") },
			missing: "service kube-system/kube-dns",
		},
		"TakenAddressOfKubernetes": {
			reason:  "the address of the API server belongs to another Service",
			store:   func(t *testing.T, p *plane) { takeAddress(t, p, "default", "kubernetes") },
			missing: "service default/kubernetes",
		},
		"MutatingPolicyChanges": {
			reason: "a policy that changes everything must not change what a start creates",
			store: func(t *testing.T, p *plane) {
				storeMutatingPolicy(t, p, `"yes"`)
				awaitChange(t, p)
				deleteSystemObjects(t, p)
			},
			// No controller writes this role. What controllers write, a policy may change, as in any cluster.
			check: func(t *testing.T, p *plane) {
				const name = "extension-apiserver-authentication-reader"
				role, err := p.client.RbacV1().Roles(metav1.NamespaceSystem).Get(t.Context(), name, metav1.GetOptions{})
				if err != nil || role.Labels["changed"] != "" {
					t.Errorf("the default role %s: got labels %v, %v", name, role.Labels, err)
				}
			},
		},
		"MutatingPolicyDenies": {
			reason: "an expression that fails denies each write",
			store: func(t *testing.T, p *plane) {
				storeMutatingPolicy(t, p, `string(1 / (size(object.metadata.name) - size(object.metadata.name)))`)
				awaitDenial(t, p)
				deleteSystemObjects(t, p)
			},
		},
		"BrokenPolicy": {
			reason: "so does an expression of a validating policy",
			store: func(t *testing.T, p *plane) {
				storeBrokenPolicy(t, p, nil)
				deleteSystemObjects(t, p)
			},
		},
		"PolicyWithoutItsParameter": {
			reason: "the kind of the parameter does not exist, which denies too",
			store: func(t *testing.T, p *plane) {
				storeBrokenPolicy(t, p, &admissionregistrationv1.ParamKind{APIVersion: "example.com/v1", Kind: "Gone"})
				deleteSystemObjects(t, p)
			},
		},
		"DeadAPIServices": {
			reason: "discovery of aggregated servers that do not answer must not hold up a start",
			store:  storeDeadAPIServices,
		},
		"ShadowedBuiltins": {
			reason: "a tenant may serve built-in groups themselves, but not to the control plane",
			store:  shadowBuiltins,
		},
		"BrokenConversion": {
			reason: "stored custom resources cannot be read",
			store:  storeBrokenConversion,
		},
		"ShadowingDefinitions": {
			reason: "custom resources with the names and groups of built-in ones",
			store:  storeShadowingDefinitions,
		},
		"BrokenFlowControl": {
			reason: "all requests belong to a level that takes none",
			store:  breakFlowControl,
			check: func(t *testing.T, p *plane) {
				if _, err := p.client.FlowcontrolV1().FlowSchemas().Get(t.Context(), "catch-all", metav1.GetOptions{}); err != nil {
					t.Errorf("a mandatory FlowSchema: %v", err)
				}
			},
		},
		"BrokenRoles": {
			reason: "the control plane needs no stored role",
			store:  breakRoles,
		},
		"HeldServices": {
			reason: "Services that a finalizer keeps still work",
			store:  holdServices,
		},
		"HeldServiceWithAnOldAddress": {
			reason:  "the Service can neither be changed nor created again while a finalizer holds it",
			store:   holdServices,
			dns:     "10.96.0.11",
			missing: "service kube-system/kube-dns",
		},
		"HeldAddress": {
			reason:  "the record of an address cannot be repaired",
			store:   holdAddress,
			failing: "service addresses",
		},
		"HeldServiceRange": {
			reason: "no address is free in a range that is being deleted",
			store: func(t *testing.T, p *plane) {
				holdServiceRange(t, p)
				deleteSystemObjects(t, p)
			},
			missing: "service kube-system/kube-dns",
		},
		"FrozenAuthentication": {
			reason: "a ConfigMap that a start writes cannot be written",
			store:  freezeAuthentication,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, bundle := t.TempDir(), newBundle(t)
			config := func(dns string) Config {
				return Config{
					Storage: throwAway(dir), PKI: bundle, AdvertiseAddress: mustIP("10.1.2.3"),
					ServiceCIDR: "10.96.0.0/16", DNSServiceIP: mustIP(dns),
				}
			}
			first := startPlane(t, config(dnsAddress))
			tc.store(t, first)
			stopInTime(t, first)

			second := startPlane(t, config(cmp.Or(tc.dns, dnsAddress)))
			checkHealth(t, second, "system objects", tc.missing)
			checkHealth(t, second, "start tasks", tc.failing)
			if tc.check != nil {
				tc.check(t, second)
			}
			if _, err := second.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
				t.Errorf("%s: the API does not answer after the restart: %v", tc.reason, err)
			}
		})
	}
}

// checkHealth waits until a control plane reports what is missing or failing, empty for
// nothing.
func checkHealth(t *testing.T, p *plane, name, want string) {
	t.Helper()
	eventually(t, name, func(context.Context) string {
		for _, check := range p.Checks() {
			if check.Name != name {
				continue
			}
			if healthy := want == ""; check.Healthy != healthy || !strings.Contains(check.Message, want) {
				return fmt.Sprintf("got %v %q with %q, want healthy %v with %q", check.Healthy, check.Message, check.Details, healthy, want)
			}
			return ""
		}
		return "there is no such check"
	})
}

// TestMissingObjectsComeBack removes the reason for a denial while the control
// plane runs.
func TestMissingObjectsComeBack(t *testing.T) {
	t.Parallel()
	dir, bundle := t.TempDir(), newBundle(t)
	first := startPlane(t, Config{Storage: throwAway(dir), PKI: bundle})
	holdNamespace(t, first)
	stopInTime(t, first)

	second := startPlane(t, Config{Storage: throwAway(dir), PKI: bundle})
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

// TestHeldAddressIsRepaired releases the record of an address that a start could not
// repair. Upstream does not repeat a failed first repair.
func TestHeldAddressIsRepaired(t *testing.T) {
	t.Parallel()
	dir, bundle := t.TempDir(), newBundle(t)
	config := func() Config {
		return Config{Storage: throwAway(dir), PKI: bundle, ServiceCIDR: "10.96.0.0/16", DNSServiceIP: mustIP(dnsAddress)}
	}
	first := startPlane(t, config())
	holdAddress(t, first)
	stopInTime(t, first)

	second := startPlane(t, config())
	checkHealth(t, second, "start tasks", "service addresses")
	addresses := second.client.NetworkingV1().IPAddresses()
	if _, err := addresses.Patch(t.Context(), dnsAddress, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	checkHealth(t, second, "start tasks", "")
	record, err := addresses.Get(t.Context(), dnsAddress, metav1.GetOptions{})
	if err != nil || record.DeletionTimestamp != nil || record.Spec.ParentRef.Name != "kube-dns" {
		t.Errorf("the record of the address: got %v, %v, want one for kube-dns", record, err)
	}
}
