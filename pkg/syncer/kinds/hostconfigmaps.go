package kinds

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// HostConfigMaps shows ConfigMaps of the host that the operator names. A tenant's own object
// under the name of a copy stays.
func HostConfigMaps(o Options) syncer.Resource[*corev1.ConfigMap, *corev1.ConfigMap] {
	return mapped(o.Sync.FromHost.ConfigMaps, func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
		func(*corev1.ConfigMap) bool { return true },
		func(host, virtual *corev1.ConfigMap) {
			virtual.Data = host.Data
			virtual.BinaryData = host.BinaryData
			virtual.Immutable = host.Immutable
		})
}
