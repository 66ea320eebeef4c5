package kinds

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// ServiceAccounts copies the tenant's service accounts to the host, where the host pods use the copies.
// A copy has no permissions, and its token is never mounted. It is for components of the host that
// distinguish pods by their service accounts, such as workload identity webhooks.
func ServiceAccounts(o Options) syncer.Resource[*corev1.ServiceAccount, *corev1.ServiceAccount] {
	passes := matches(o.Sync.ToHost.ServiceAccounts.Annotations.Allow)
	return syncer.Resource[*corev1.ServiceAccount, *corev1.ServiceAccount]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		Down: func(s syncer.Scope, virtual, host *corev1.ServiceAccount) error {
			host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
			host.Annotations = translate.SyncAnnotations(host.Annotations, virtual.Annotations, func(key, _ string) bool { return passes(key) })
			host.AutomountServiceAccountToken = new(false)
			secrets := slices.Clone(o.WorkloadPullSecrets)
			for _, secret := range virtual.ImagePullSecrets {
				secrets = append(secrets, corev1.LocalObjectReference{Name: hostName(s, virtual.Namespace, secret.Name)})
			}
			return setPullSecrets(host, secrets)
		},
	}
}

// setPullSecrets sets the Secrets that a host account pulls images with. It keeps those that others
// on the host have added. A registry of the host may give each account one, and would do so again.
func setPullSecrets(host *corev1.ServiceAccount, secrets []corev1.LocalObjectReference) error {
	names := translate.LastApplied{}
	for _, secret := range secrets {
		names[secret.Name] = ""
	}
	before, err := translate.RecordKeys(host, "imagePullSecrets", names)
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(host.ImagePullSecrets), func(secret corev1.LocalObjectReference) bool {
		_, wanted := names[secret.Name]
		_, ours := before[secret.Name]
		return !wanted && (ours || before == nil)
	})
	for _, secret := range secrets {
		if !slices.Contains(kept, secret) {
			kept = append(kept, secret)
		}
	}
	host.ImagePullSecrets = kept
	return nil
}

// accountRefs returns the image pull secrets of a service account.
func accountRefs(object client.Object) Refs {
	account, ok := object.(*corev1.ServiceAccount)
	if !ok {
		return Refs{}
	}
	var refs Refs
	for _, secret := range account.ImagePullSecrets {
		refs.Secrets = append(refs.Secrets, secret.Name)
	}
	return refs
}
