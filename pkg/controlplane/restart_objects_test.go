package controlplane

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

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

// takeAddress gives the address of a Service of the control plane to one of the tenant's.
func takeAddress(t *testing.T, p *plane, namespace, name string) {
	t.Helper()
	service, err := p.client.CoreV1().Services(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "address", func(ctx context.Context) string {
		// The control plane may have created its Service again, and so be first.
		err := p.client.CoreV1().Services(namespace).Delete(ctx, name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err.Error()
		}
		_, err = p.client.CoreV1().Services("default").Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "thief"},
			Spec:       corev1.ServiceSpec{ClusterIP: service.Spec.ClusterIP, Ports: []corev1.ServicePort{{Port: 80}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return err.Error()
		}
		return ""
	})
}

// hold is the patch that keeps an object from being deleted.
const hold = `{"metadata":{"finalizers":["example.com/hold"]}}`

// holdServices deletes the Services of the control plane, which a finalizer keeps.
func holdServices(t *testing.T, p *plane) {
	t.Helper()
	for namespace, name := range map[string]string{"default": "kubernetes", "kube-system": "kube-dns"} {
		api := p.client.CoreV1().Services(namespace)
		if _, err := api.Patch(t.Context(), name, types.MergePatchType, []byte(hold), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := api.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// holdAddress deletes the record of an address, which a finalizer keeps, after it has
// lost the label of the allocator. It can be neither repaired nor created again.
func holdAddress(t *testing.T, p *plane) {
	t.Helper()
	api := p.client.NetworkingV1().IPAddresses()
	patch := `{"metadata":{"finalizers":["example.com/hold"],"labels":null}}`
	if _, err := api.Patch(t.Context(), dnsAddress, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := api.Delete(t.Context(), dnsAddress, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// holdServiceRange deletes the range of Service addresses, which a finalizer keeps.
func holdServiceRange(t *testing.T, p *plane) {
	t.Helper()
	api := p.client.NetworkingV1().ServiceCIDRs()
	if _, err := api.Patch(t.Context(), "kubernetes", types.MergePatchType, []byte(hold), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := api.Delete(t.Context(), "kubernetes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// breakFlowControl deletes what can be deleted of flow control, and gives all requests
// but those of administrators to a level that takes none.
func breakFlowControl(t *testing.T, p *plane) {
	t.Helper()
	api := p.client.FlowcontrolV1()
	if err := api.FlowSchemas().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := api.PriorityLevelConfigurations().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	none := int32(0)
	_, err := api.PriorityLevelConfigurations().Create(t.Context(), &flowcontrolv1.PriorityLevelConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "none"},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
				NominalConcurrencyShares: &none, LendablePercent: &none, BorrowingLimitPercent: &none,
				LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.FlowSchemas().Create(t.Context(), &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: "aaa"},
		Spec: flowcontrolv1.FlowSchemaSpec{
			MatchingPrecedence: 2, PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "none"},
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects: []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: "*"}}},
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{
					Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, Namespaces: []string{"*"}, ClusterScope: true,
				}},
				NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// breakRoles takes the rules from cluster-admin for good, gives its binding to nobody,
// and stores a role that aggregates itself into the default ones.
func breakRoles(t *testing.T, p *plane) {
	t.Helper()
	api := p.client.RbacV1()
	role, err := api.ClusterRoles().Get(t.Context(), "cluster-admin", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role.Rules, role.Annotations = nil, map[string]string{rbacv1.AutoUpdateAnnotationKey: "false"}
	if _, err := api.ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := api.ClusterRoleBindings().Delete(t.Context(), "cluster-admin", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = api.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "cluster-admin"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "gone"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	into := map[string]string{"rbac.authorization.k8s.io/aggregate-to-admin": "true", "rbac.authorization.k8s.io/aggregate-to-view": "true"}
	_, err = api.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta:      metav1.ObjectMeta{Name: "loop", Labels: into},
		AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: into}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// freezeAuthentication makes the ConfigMap immutable that aggregated servers read, with
// other content.
func freezeAuthentication(t *testing.T, p *plane) {
	t.Helper()
	const name = "extension-apiserver-authentication"
	patch := `{"immutable":true,"data":{"client-ca-file":"none"}}`
	eventually(t, "patch of "+name, func(ctx context.Context) string {
		if _, err := p.client.CoreV1().ConfigMaps("kube-system").Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
}
