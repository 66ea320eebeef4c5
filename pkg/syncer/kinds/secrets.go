package kinds

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Secrets copies the tenant's Secrets to the host, where kubelets mount them and use them to pull
// images. It copies those that another object refers to, or all of them with
// sync.toHost.secrets.all. A copy that nothing refers to any more is deleted.
func Secrets(o Options) syncer.Resource[*corev1.Secret, *corev1.Secret] {
	r := syncer.Resource[*corev1.Secret, *corev1.Secret]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		// New pods wait for them.
		Compared: true,
		Down: func(_ syncer.Scope, virtual, host *corev1.Secret) error {
			host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
			host.Type = hostSecretType(virtual.Type)
			host.Data = virtual.Data
			host.Immutable = virtual.Immutable
			return nil
		},
	}
	if !o.Sync.ToHost.Secrets.All {
		limit := referredSecrets(o)
		r.Want = func(s syncer.Scope, virtual, _ *corev1.Secret) (bool, error) { return limit.isReferred(s, virtual) }
		r.MetadataOnly = true // Nothing refers to most Secrets, and they may be large.
		r.Indexes, r.Also = limit.indexes(), limit.watches()
	}
	return r
}

// hostSecretType returns the type of the host copy. It replaces types that controllers of the host
// process. They would fill in a token of a host service account, or delete the Secret because the
// account does not exist.
func hostSecretType(virtual corev1.SecretType) corev1.SecretType {
	switch virtual {
	case corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken:
		return corev1.SecretTypeOpaque
	}
	return virtual
}
