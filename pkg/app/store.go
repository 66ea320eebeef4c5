package app

import (
	"fmt"
	"path/filepath"

	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// storeReserve is the space in bytes that the store keeps free for a start on a full
// volume. It has room for two segments of the log, and some for the database.
const storeReserve = 160 << 20

// newStore returns the store that the settings enable, without starting it.
func (a *app) newStore() (storage.Backend, error) {
	switch store := a.values.ControlPlane.BackingStore.Store(); store {
	case v1alpha1.StoreEmbeddedEtcd:
		return a.newEmbeddedEtcd(), nil
	default:
		return nil, fmt.Errorf("cannot use store %q of controlPlane.backingStore: unknown", store)
	}
}

// newEmbeddedEtcd returns an etcd in the process. Its identity is the one that it keeps
// with more replicas: the pod's name, a DNS name per pod, and the anchor's UID.
func (a *app) newEmbeddedEtcd() *storage.Etcd {
	store := storage.Embedded(a.storeDir())
	pod := a.names.Pod(0)
	store.Member = storage.Member{
		Name:    pod,
		PeerURL: fmt.Sprintf("https://%s.%s-peers.%s.svc:2380", pod, a.names.Name, a.names.Namespace),
		Token:   string(a.facts.Anchor.UID),
	}
	store.Quota = a.values.ControlPlane.BackingStore.Etcd.Embedded.Quota.Value()
	store.VolumeSize = a.values.ControlPlane.StatefulSet.Persistence.VolumeClaim.Size.Value()
	store.Reserve = storeReserve
	store.IsInternal = loopback.IsLoopback
	store.Register = legacyregistry.Register
	return store
}

// storeDir returns the folder of the store.
func (a *app) storeDir() string { return filepath.Join(a.options.DataDir, host.StoreDir) }
