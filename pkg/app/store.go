package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/snapshot"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// storeReserve is the space, in bytes, that the store reserves so that it can start on a full
// volume. It has room for two WAL segments of etcd and some database pages.
const storeReserve = 160 << 20

// storeSecretDir is where the chart mounts the Secret of an external store.
const storeSecretDir = "/etc/sublet-store" //nolint:gosec // the path of a folder

// virtualStore is the store of the virtual cluster, as the control plane uses it.
type virtualStore struct {
	storage.Backend

	served   *snapshot.Served // what Backend wraps
	onVolume bool
	members  *members // nil unless the store is an embedded etcd
}

// newStore returns the store that the settings enable. It does not start it. The store refuses
// to open if it belongs to another virtual cluster.
func (a *connectedApp) newStore(ctx context.Context, others *otherReplicas) (*virtualStore, error) {
	target, err := a.storeOf(a.values.ControlPlane.BackingStore, storeUse{secretDir: storeSecretDir, register: legacyregistry.Register})
	if err != nil {
		return nil, err
	}
	backend, err := target.Open()
	if err != nil {
		return nil, err
	}
	var membership *members
	if etcd, ok := backend.(*storage.Etcd); ok {
		if membership, err = a.newMembers(ctx, etcd, others); err != nil {
			return nil, err
		}
	}
	if backend, err = a.withRestore(backend, membership); err != nil {
		return nil, err
	}
	served, err := a.serveOnly(backend, target.Location)
	if err != nil {
		return nil, err
	}
	owned := &storage.Owned{
		Backend:  served,
		Identity: a.storeIdentity(),
		// Discovery has compared the volume with the anchor already.
		IsProven: target.OnVolume,
		Accepted: a.acceptedStore,
		TakeOver: fmt.Sprintf("kubectl -n %s annotate configmap %s %s=", a.names.Namespace, a.names.Anchor(), labels.AcceptStore),
		Waiter:   storage.Waiter{Report: a.reportStore},
	}
	return &virtualStore{Backend: owned, served: served, onVolume: target.OnVolume, members: membership}, nil
}

// storeIdentity returns the identity of this virtual cluster that is recorded in its store.
func (a *appWithFacts) storeIdentity() storage.Identity {
	return storage.Identity{Anchor: string(a.facts.Anchor.UID), Namespace: a.names.Namespace, Name: a.names.Name}
}

// storeUse specifies how a store is opened.
type storeUse struct {
	// secretDir is the directory in which the Secret of the store is mounted.
	secretDir string
	// mustExist prevents that the store is created.
	mustExist bool
	// register registers the metrics of the store. Default: none are registered.
	register func(metrics.Registerable) error
}

// checkDir returns an error if the store must exist and its directory does not.
func (u storeUse) checkDir(dir string) error {
	if _, err := os.Stat(dir); u.mustExist && errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no %s on the volume", dir)
	}
	return nil
}

// targetStore returns the store that the settings enable. When the store is moved, it is the
// target.
func (a *appWithFacts) targetStore() (snapshot.Store, error) {
	return a.storeOf(a.values.ControlPlane.BackingStore, storeUse{secretDir: storeSecretDir})
}

// storeOf returns the store for the given settings. Its location identifies the store in
// messages and in the record on the anchor.
func (a *appWithFacts) storeOf(settings v1alpha1.BackingStore, use storeUse) (snapshot.Store, error) {
	switch kind := settings.Store(); kind {
	case v1alpha1.StoreEmbeddedEtcd:
		return snapshot.Store{
			Location: host.EmbeddedLocation, OnVolume: true,
			Open: func() (storage.Backend, error) {
				if err := use.checkDir(a.storeDir()); err != nil {
					return nil, err
				}
				return a.newEmbeddedEtcd(settings.Etcd.Embedded, use), nil
			},
		}, nil
	case v1alpha1.StoreExternalEtcd:
		external := a.newExternalEtcd(settings.Etcd.External, use)
		return snapshot.Store{
			Location: fmt.Sprintf("%s at %s with prefix %s", kind, settings.Etcd.External.Endpoint, external.Prefix),
			Open:     func() (storage.Backend, error) { return a.newExternalEtcd(settings.Etcd.External, use), nil },
		}, nil
	case v1alpha1.StoreSQLite:
		return snapshot.Store{
			Location: string(kind), OnVolume: true,
			Open: func() (storage.Backend, error) {
				if err := use.checkDir(a.sqliteDir()); err != nil {
					return nil, err
				}
				return a.newSQLite(use), nil
			},
		}, nil
	case v1alpha1.StoreDatabase:
		options := a.databaseOptions(settings.Database.External, use)
		location, err := options.Location()
		if err != nil {
			return snapshot.Store{}, err
		}
		return snapshot.Store{
			Location: fmt.Sprintf("%s, %s", kind, location),
			Open:     func() (storage.Backend, error) { return a.newDatabase(options, use), nil },
		}, nil
	default:
		return snapshot.Store{}, fmt.Errorf("cannot use store %q of controlPlane.backingStore: unknown", kind)
	}
}

// showStandby puts the replica on standby while its store cannot be opened for the given reason.
// An empty reason ends that.
func (a *connectedApp) showStandby(reason string) {
	if reason == "" {
		a.health.setStarting()
		return
	}
	reason = "the store cannot be opened: " + reason
	a.health.setStandby(reason)
	a.events.RecordStandby(a.facts.Anchor, reason)
}

// acceptedStore returns the UID of the anchor whose store the operator has accepted. It is empty
// if there is none or the host does not respond.
func (a *connectedApp) acceptedStore(ctx context.Context) string {
	anchor, err := a.ownClient.CoreV1().ConfigMaps(a.names.Namespace).Get(ctx, a.names.Anchor(), metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return anchor.Annotations[labels.AcceptStore]
}

// newEmbeddedEtcd returns an etcd that runs in this process.
func (a *appWithFacts) newEmbeddedEtcd(settings v1alpha1.EmbeddedEtcd, use storeUse) *storage.Etcd {
	store := storage.Embedded(a.storeDir())
	store.Member = a.memberOf(a.options.identity().Pod)
	store.Quota = settings.Quota.Value()
	store.VolumeSize = a.values.ControlPlane.StatefulSet.Persistence.VolumeClaim.Size.Value()
	store.Reserve = storeReserve
	store.IsInternal = loopback.IsLoopback
	store.Register = use.register
	return store
}

// newExternalEtcd returns a store in an external etcd. The default key prefix contains the
// anchor's UID, so that virtual clusters can share an etcd.
func (a *appWithFacts) newExternalEtcd(settings v1alpha1.ExternalEtcd, use storeUse) *storage.External {
	store := &storage.External{
		Endpoints:  settings.Endpoints(),
		Prefix:     cmp.Or(settings.KeyPrefix, fmt.Sprintf("/%s/%s/", labels.Domain, a.facts.Anchor.UID)),
		TLS:        storage.TLSFiles{CA: settings.TLS.CAFile, Cert: settings.TLS.CertFile, Key: settings.TLS.KeyFile},
		IsInternal: loopback.IsLoopback,
		Register:   use.register,
		Waiter:     storage.Waiter{Report: a.reportStore},
	}
	if settings.TLS.Secret != "" {
		store.TLS.Dir = use.secretDir
	}
	return store
}

// storeDir returns the directory of the embedded store.
func (a *configuration) storeDir() string { return filepath.Join(a.options.DataDir, host.StoreDir) }
