package kinds

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// ConfigMaps copies the tenant's ConfigMaps to the host, where kubelets mount them. It copies those
// that another object refers to, or all of them with sync.toHost.configMaps.all. A copy that
// nothing refers to any more is deleted.
func ConfigMaps(o Options) syncer.Resource[*corev1.ConfigMap, *corev1.ConfigMap] {
	r := syncer.Resource[*corev1.ConfigMap, *corev1.ConfigMap]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		// New pods wait for them.
		Compared: true,
		Down: func(_ syncer.Scope, virtual, host *corev1.ConfigMap) error {
			host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
			host.Data = virtual.Data
			host.BinaryData = virtual.BinaryData
			host.Immutable = virtual.Immutable
			return nil
		},
	}
	if !o.Sync.ToHost.ConfigMaps.All {
		limit := referredConfigMaps(o)
		r.Want = func(s syncer.Scope, virtual, _ *corev1.ConfigMap) (bool, error) { return limit.isReferred(s, virtual) }
		r.MetadataOnly = true // Nothing refers to most ConfigMaps, and they may be large.
		r.Indexes, r.Also = limit.indexes(), limit.watches()
	}
	return r
}
