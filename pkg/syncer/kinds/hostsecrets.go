package kinds

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// HostSecrets copies Secrets of the host that the operator has configured. It never copies tokens,
// which are credentials of the host and have no meaning in the virtual cluster.
func HostSecrets(o Options) syncer.Resource[*corev1.Secret, *corev1.Secret] {
	r := mapped(o.Sync.FromHost.Secrets, func() *corev1.Secret { return &corev1.Secret{} }, isNotToken,
		func(host, virtual *corev1.Secret) {
			virtual.Type = host.Type
			virtual.Data = host.Data
			virtual.Immutable = host.Immutable
		})
	// A Secret with an owner is a copy of [customProduced].
	r.IsCopy = func(virtual *corev1.Secret) bool { return len(virtual.OwnerReferences) == 0 }
	return r
}

// isNotToken reports whether a Secret is no token for the host's API.
func isNotToken(host *corev1.Secret) bool {
	return host.Type != corev1.SecretTypeServiceAccountToken && host.Type != corev1.SecretTypeBootstrapToken
}
