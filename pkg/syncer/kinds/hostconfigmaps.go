package kinds

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// HostConfigMaps copies ConfigMaps of the host that the operator has configured. If the tenant already
// has a ConfigMap of that name, it stays.
func HostConfigMaps(o Options) syncer.Resource[*corev1.ConfigMap, *corev1.ConfigMap] {
	return mapped(o.Sync.FromHost.ConfigMaps, func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
		func(*corev1.ConfigMap) bool { return true },
		func(host, virtual *corev1.ConfigMap) {
			virtual.Data = host.Data
			virtual.BinaryData = host.BinaryData
			virtual.Immutable = host.Immutable
		})
}
