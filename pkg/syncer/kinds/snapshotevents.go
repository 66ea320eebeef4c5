package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// SnapshotEvents copies the host's Events about copies of VolumeSnapshots, if other Events are copied.
// The kind is apart from them, because a host without the definitions of snapshots must not stop
// those.
func SnapshotEvents(o Options) syncer.Resource[*corev1.Event, *corev1.Event] {
	involved := map[string]func() client.Object{}
	if o.Sync.IsEnabled("sync.fromHost.events") {
		involved["VolumeSnapshot"] = func() client.Object { return emptySnapshot() }
	}
	return eventsAbout(o, involved)
}
