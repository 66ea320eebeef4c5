package controlplane

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// clusterBindings returns the bindings of cluster roles that every cluster has.
func clusterBindings() []rbacv1.ClusterRoleBinding {
	bindings := append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...)
	return append(bindings, tenantAdmins())
}

// tenantAdmins returns the binding that makes the group of the tenant's kubeconfig cluster-admin. Like
// all default bindings it is created again at the next start, so deleting it revokes all kubeconfigs
// until then. The annotation for automatic updates, set to false, prevents changes for good.
func tenantAdmins() rbacv1.ClusterRoleBinding {
	return rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Name:        pki.GroupTenantAdmins,
			Labels:      map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
			Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
		},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: pki.GroupTenantAdmins}},
	}
}
