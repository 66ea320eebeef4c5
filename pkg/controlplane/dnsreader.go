package controlplane

import (
	"context"
	"reflect"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// dnsReader returns the role, and its binding, of DNS servers that run in pods of their own. It grants
// read access to the objects that DNS names come from. It is restored if a tenant changes it, because
// DNS would not work without it.
func (b *bootstrap) dnsReader() []systemObject {
	user := b.config.DNSUser
	if user == "" {
		return nil
	}
	meta := metav1.ObjectMeta{Name: user, Labels: map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}}
	read := []string{"list", "watch"}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces", "pods", "services"}, Verbs: read},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: read},
	}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	return []systemObject{
		{kind: kindClusterRole, name: user, ensure: func(ctx context.Context) error { return b.ensureRole(ctx, role) }},
		{kind: kindClusterBinding, name: user, ensure: func(ctx context.Context) error { return b.ensureBinding(ctx, binding) }},
	}
}

// ensureRole creates a cluster role or corrects its rules.
func (b *bootstrap) ensureRole(ctx context.Context, want *rbacv1.ClusterRole) error {
	api := b.client.RbacV1().ClusterRoles()
	have, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = api.Create(ctx, want, metav1.CreateOptions{})
		return err
	case err != nil || reflect.DeepEqual(have.Rules, want.Rules):
		return err
	}
	have.Rules = want.Rules
	_, err = api.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

// ensureBinding creates a cluster role binding or corrects it. It replaces one of another role, because a role
// reference cannot be changed.
func (b *bootstrap) ensureBinding(ctx context.Context, want *rbacv1.ClusterRoleBinding) error {
	api := b.client.RbacV1().ClusterRoleBindings()
	have, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = api.Create(ctx, want, metav1.CreateOptions{})
		return err
	case err != nil:
		return err
	case have.RoleRef != want.RoleRef:
		if err := api.Delete(ctx, want.Name, *metav1.NewPreconditionDeleteOptions(string(have.UID))); err != nil {
			return err
		}
		_, err = api.Create(ctx, want, metav1.CreateOptions{})
		return err
	case reflect.DeepEqual(have.Subjects, want.Subjects):
		return nil
	}
	have.Subjects = want.Subjects
	_, err = api.Update(ctx, have, metav1.UpdateOptions{})
	return err
}
