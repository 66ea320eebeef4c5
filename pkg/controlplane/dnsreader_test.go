package controlplane

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
)

// TestDNSReader asks the API server as a DNS server outside of the process does.
func TestDNSReader(t *testing.T) {
	t.Parallel()
	const user = "system:sublet:dns"
	p := startPlane(t, Config{DNSUser: user})
	client := kubernetes.NewForConfigOrDie(p.kubeconfig(t, user))
	list := metav1.ListOptions{}
	for name, tc := range map[string]struct {
		ask     func() error
		allowed bool
	}{
		"namespaces":     {func() error { _, err := client.CoreV1().Namespaces().List(t.Context(), list); return err }, true},
		"services":       {func() error { _, err := client.CoreV1().Services("").List(t.Context(), list); return err }, true},
		"pods":           {func() error { _, err := client.CoreV1().Pods("").List(t.Context(), list); return err }, true},
		"endpointslices": {func() error { _, err := client.DiscoveryV1().EndpointSlices("").List(t.Context(), list); return err }, true},
		"secrets":        {func() error { _, err := client.CoreV1().Secrets("").List(t.Context(), list); return err }, false},
		"configmaps":     {func() error { _, err := client.CoreV1().ConfigMaps("").List(t.Context(), list); return err }, false},
		"delete": {func() error {
			return client.CoreV1().Services("default").Delete(t.Context(), "kubernetes", metav1.DeleteOptions{})
		}, false},
	} {
		// The authorizer sees a new role a moment after it is created.
		eventually(t, name, func(context.Context) string {
			if err := tc.ask(); tc.allowed != (err == nil) || err != nil && !apierrors.IsForbidden(err) {
				return fmt.Sprintf("%v, want allowed: %t", err, tc.allowed)
			}
			return ""
		})
	}
}

// TestDNSReaderIsKept puts right what a tenant has changed or deleted.
func TestDNSReaderIsKept(t *testing.T) {
	t.Parallel()
	const user = "system:sublet:dns"
	client := fake.NewClientset()
	b := &bootstrap{config: &Config{DNSUser: user}, client: client}
	read := func() (*rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding) {
		for _, o := range b.keptObjects() {
			if o.name != user {
				continue
			}
			if err := o.apply(t.Context()); err != nil {
				t.Fatalf("%s: %v", o, err)
			}
		}
		role, err := client.RbacV1().ClusterRoles().Get(t.Context(), user, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		binding, err := client.RbacV1().ClusterRoleBindings().Get(t.Context(), user, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return role, binding
	}
	role, binding := read()
	changedRole, changedBinding := role.DeepCopy(), binding.DeepCopy()
	changedRole.Rules, changedBinding.Subjects = nil, nil
	if _, err := client.RbacV1().ClusterRoles().Update(t.Context(), changedRole, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Update(t.Context(), changedBinding, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	againRole, againBinding := read()
	if diff := cmp.Diff(role.Rules, againRole.Rules) + cmp.Diff(binding.Subjects, againBinding.Subjects); diff != "" {
		t.Errorf("after a change (-want +got):\n%s", diff)
	}
	foreign := binding.DeepCopy()
	foreign.RoleRef.Name = "cluster-admin"
	bindings := client.RbacV1().ClusterRoleBindings()
	if err := bindings.Delete(t.Context(), user, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := bindings.Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, replaced := read(); replaced.RoleRef != binding.RoleRef || !cmp.Equal(replaced.Subjects, binding.Subjects) {
		t.Errorf("a binding of another role is kept: %v to %v", replaced.RoleRef, replaced.Subjects)
	}
	if len(binding.Subjects) != 1 || binding.Subjects[0].Kind != rbacv1.UserKind {
		t.Errorf("bound to %v", binding.Subjects)
	}
	if objects := (&bootstrap{config: &Config{}}).dnsReader(); len(objects) != 0 {
		t.Errorf("without DNS servers outside there are %v", objects)
	}
}
