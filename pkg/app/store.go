package app

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// storeReserve is the space in bytes that the store keeps free for a start on a full
// volume. It has room for two segments of the log, and some for the database.
const storeReserve = 160 << 20

// storeSecretDir is where the chart mounts the Secret of a store outside of the process.
const storeSecretDir = "/etc/sublet-store"

// newStore returns the store that the settings enable, without starting it. It opens only
// as the store of this virtual cluster.
func (a *app) newStore() (storage.Backend, error) {
	store := &storage.Owned{
		Identity: storage.Identity{Anchor: string(a.facts.Anchor.UID), Namespace: a.names.Namespace, Name: a.names.Name},
		Accepted: a.acceptedStore,
		TakeOver: fmt.Sprintf("kubectl -n %s annotate configmap %s %s=", a.names.Namespace, a.names.Anchor(), labels.AcceptStore),
		Waiter:   storage.Waiter{Report: a.reportStore},
	}
	switch kind := a.values.ControlPlane.BackingStore.Store(); kind {
	case v1alpha1.StoreEmbeddedEtcd:
		// The start has compared the volume with the anchor.
		store.Backend, store.IsProven = a.newEmbeddedEtcd(), true
	case v1alpha1.StoreExternalEtcd:
		store.Backend = a.newExternalEtcd()
	default:
		return nil, fmt.Errorf("cannot use store %q of controlPlane.backingStore: unknown", kind)
	}
	return store, nil
}

// reportStore makes the replica stand by while its store cannot be opened for the given
// reason. An empty reason ends that.
func (a *app) reportStore(reason string) {
	if reason == "" {
		a.health.setStarting()
		return
	}
	a.health.setStandby("The store cannot be opened: " + reason)
}

// acceptedStore returns the UID of the anchor whose store the operator has accepted. It is
// empty if there is none, or if the host does not respond.
func (a *app) acceptedStore(ctx context.Context) string {
	anchor, err := a.hostClient.CoreV1().ConfigMaps(a.names.Namespace).Get(ctx, a.names.Anchor(), metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return anchor.Annotations[labels.AcceptStore]
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

// newExternalEtcd returns an etcd that somebody else runs. Without a prefix in the
// settings, the keys are below the anchor's UID, which no other virtual cluster has.
func (a *app) newExternalEtcd() *storage.External {
	settings := a.values.ControlPlane.BackingStore.Etcd.External
	store := &storage.External{
		Endpoints:  settings.Endpoints(),
		Prefix:     cmp.Or(settings.KeyPrefix, fmt.Sprintf("/%s/%s/", labels.Domain, a.facts.Anchor.UID)),
		TLS:        storage.TLSFiles{CA: settings.TLS.CAFile, Cert: settings.TLS.CertFile, Key: settings.TLS.KeyFile},
		IsInternal: loopback.IsLoopback,
		Register:   legacyregistry.Register,
		Waiter:     storage.Waiter{Report: a.reportStore},
	}
	if settings.TLS.Secret != "" {
		store.TLS.Dir = storeSecretDir
	}
	return store
}

// storeDir returns the folder of the store.
func (a *app) storeDir() string { return filepath.Join(a.options.DataDir, host.StoreDir) }
