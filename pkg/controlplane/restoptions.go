package controlplane

import (
	"context"
	"net"
	"sync"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/server/egressselector"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	plaintext "k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/controlplane/encryption"
	"github.com/sublet-dev/sublet/pkg/controlplane/requestmemory"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// sharedStore makes all resources of an API server use one client of the backend. By default each
// resource opens its own connection, which is about 70 connections and 1000 goroutines.
type sharedStore struct {
	client     *kubernetes.Client
	encryption *encryption.Encryption
	clock      sharedSeconds // of the watch caches
}

// boundReads bounds the memory that requests of a tenant take, in all copies of client. It measures their latency, as
// the default client does. Nothing else may use the client yet.
func boundReads(client *kubernetes.Client) {
	client.KV, client.Watcher = etcd3.NewETCDLatencyTracker(requestmemory.Store(client.KV)), requestmemory.Watcher(client.Watcher)
}

// newSharedStore returns the store behind client. The writes of the store have a limit, those of client have none.
func newSharedStore(client *kubernetes.Client, encryption *encryption.Encryption, limit WriteLimit, clock clock.WithTicker) sharedStore {
	limited := *client
	limited.Kubernetes = limit.wrap(memoryLimitedWrites{Interface: statusWrites{client.Kubernetes}, isShort: isMemoryShort, growths: &growths{}}, clock)
	return sharedStore{client: &limited, encryption: encryption, clock: newSharedSeconds(clock)}
}

// keptHistory is how long old revisions stay readable: the API server's own default.
const keptHistory = 5 * time.Minute

// compact deletes old revisions in a store that does not do that itself, until the
// returned function is called. The API servers of all replicas take turns.
func (s sharedStore) compact(can storage.Capabilities, clock clock.Clock) (stop func()) {
	if can.Compacts {
		return func() {}
	}
	return etcd3.NewCompactor(s.client.Client, keptHistory, clock, nil).Stop
}

// wrap replaces the storage that a getter would build by one on the shared client.
func (s sharedStore) wrap(inner generic.RESTOptionsGetter) generic.RESTOptionsGetter {
	return &sharedGetter{inner: inner, store: s}
}

// isUncached reports whether a resource has no watch cache. Upstream only excludes Events. We also
// exclude resources with few objects and few readers. A cache costs six goroutines and a timer that
// fires every second, and the store is only a function call away. ConfigMaps and Secrets
// are excluded because they are the bulk of a store, and a cache would have a copy of each.
func isUncached(resource schema.GroupResource) bool {
	switch resource.Group {
	case "admissionregistration.k8s.io", "apiregistration.k8s.io", "autoscaling", "certificates.k8s.io",
		"coordination.k8s.io", "events.k8s.io", "flowcontrol.apiserver.k8s.io", "networking.k8s.io", "node.k8s.io",
		"policy", "rbac.authorization.k8s.io", "resource.k8s.io", "scheduling.k8s.io", "storage.k8s.io", "storagemigration.k8s.io":
		return true
	case "":
		switch resource.Resource {
		case "configmaps", "events", "limitranges", "podtemplates", "replicationcontrollers", "resourcequotas", "secrets":
			return true
		}
	case "apps":
		return resource.Resource == "controllerrevisions"
	case "batch":
		return resource.Resource == "cronjobs"
	}
	return false
}

type sharedGetter struct {
	inner generic.RESTOptionsGetter
	store sharedStore
}

// GetRESTOptions returns the inner options with the shared storage in them.
func (g *sharedGetter) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	options, err := g.inner.GetRESTOptions(resource, example)
	if err != nil {
		return options, err
	}
	options.Decorator = g.store.decorator(!isUncached(resource))
	return options, nil
}

// decorator builds the storage of one resource, behind a watch cache or not.
func (s sharedStore) decorator(cached bool) generic.StorageDecorator {
	return func(
		config *storagebackend.ConfigForResource,
		resourcePrefix string,
		keyFunc func(obj runtime.Object) (string, error),
		newFunc func() runtime.Object,
		newListFunc func() runtime.Object,
		getAttrs apistorage.AttrFunc,
		triggers apistorage.IndexerFuncs,
		indexers *cache.Indexers,
	) (apistorage.Interface, factory.DestroyFunc, error) {
		transformer := s.encryption.Transformer(config.GroupResource)
		if transformer == nil {
			transformer = plaintext.NewEncryptCheckTransformer()
		}
		versioner := apistorage.APIObjectVersioner{}
		// One compactor serves all resources; see compact.
		store, err := etcd3.New(s.client, nil, config.Codec, newFunc, newListFunc, config.Prefix, resourcePrefix,
			config.GroupResource, transformer, config.LeaseManagerConfig,
			etcd3.NewDefaultDecoder(config.Codec, versioner), versioner)
		if err != nil {
			return nil, func() {}, err
		}
		if !cached {
			return requestmemory.Storage(store), sync.OnceFunc(store.Close), nil
		}
		versions := newLastVersions()
		watchCache, err := cacher.NewCacherFromConfig(cacher.Config{
			Storage:             sharingStore{store, versions},
			Versioner:           versioner,
			GroupResource:       config.GroupResource,
			EventsHistoryWindow: config.EventsHistoryWindow,
			ResourcePrefix:      resourcePrefix,
			KeyFunc:             keyFunc,
			NewFunc:             newFunc,
			NewListFunc:         newListFunc,
			GetAttrsFunc:        versions.attributes(getAttrs),
			IndexerFuncs:        triggers,
			Indexers:            indexers,
			Codec:               config.Codec,
			Clock:               s.clock,
		})
		if err != nil {
			store.Close()
			return nil, func() {}, err
		}
		delegator := cacher.NewCacheDelegator(watchCache, store)
		var served apistorage.Interface = delegator
		if _, ok := newFunc().(runtime.Unstructured); ok {
			served = requestmemory.Reads(delegator, store)
		}
		return served, sync.OnceFunc(func() {
			delegator.Stop()
			watchCache.Stop()
			store.Close()
		}), nil
	}
}

// egress returns the lookup of the dialer for connections that libraries open to the store themselves.
// It does not affect other connections.
func egress(backend storage.Backend) egressselector.Lookup {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return backend.Dial(ctx) }
	return func(target egressselector.NetworkContext) (utilnet.DialFunc, error) {
		if target.EgressSelectionName == egressselector.Etcd.AsNetworkContext().EgressSelectionName {
			return dial, nil
		}
		return nil, nil
	}
}
