package kinds

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// HostSecrets shows Secrets of the host that the operator names. Tokens of the host are left
// out, also if they are named: they mean nothing in the virtual cluster, and are credentials
// of the host.
func HostSecrets(o Options) syncer.Resource[*corev1.Secret, *corev1.Secret] {
	r := mapped(o.Sync.FromHost.Secrets, func() *corev1.Secret { return &corev1.Secret{} }, isNoToken,
		func(host, virtual *corev1.Secret) {
			virtual.Type = host.Type
			virtual.Data = host.Data
			virtual.Immutable = host.Immutable
		})
	// Those that the host has written for an object of the tenant belong to that.
	r.IsCopy = func(virtual *corev1.Secret) bool { return len(virtual.OwnerReferences) == 0 }
	return r
}

// isNoToken reports whether a Secret has no token for the API of its own cluster.
func isNoToken(host *corev1.Secret) bool {
	return host.Type != corev1.SecretTypeServiceAccountToken && host.Type != corev1.SecretTypeBootstrapToken
}
