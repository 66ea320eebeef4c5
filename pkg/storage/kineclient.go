package storage

import (
	"context"
	"time"

	"github.com/k3s-io/kine/pkg/server"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"go.uber.org/zap"
)

// emulatedVersion is the etcd version that a database reports. It does not support progress requests of
// watches, so that the API server reads consistent lists from the database, including writes of other
// replicas.
const emulatedVersion = "3.4.0"

// newKineClient returns a client that calls kine directly.
func newKineClient(bridge *server.KVServerBridge) *kubernetes.Client {
	c := clientv3.NewCtxClient(context.Background(), clientv3.WithZapLogger(zap.NewNop())) //nolint:forbidigo // Stop closes it
	c.KV = clientv3.NewKVFromKVClient(adapter.KvServerToKvClient(bridge), c)
	c.Lease = clientv3.NewLeaseFromLeaseClient(adapter.LeaseServerToLeaseClient(bridge), c, time.Second)
	c.Watcher = newWatcher(bridge, c)
	c.Maintenance = clientv3.NewMaintenanceFromMaintenanceClient(adapter.MaintenanceServerToMaintenanceClient(bridge), c)
	c.Cluster = clientv3.NewClusterFromClusterClient(adapter.ClusterServerToClusterClient(bridge), c)
	client := &kubernetes.Client{Client: c}
	client.Kubernetes = wholeTxns{client}
	return client
}

// wholeTxns always requests the current value on failure, because kine supports no other form of updates and
// deletes.
type wholeTxns struct{ kubernetes.Interface }

// OptimisticPut writes a key if it has the expected revision.
func (w wholeTxns) OptimisticPut(ctx context.Context, key string, value []byte, expectedRevision int64, opts kubernetes.PutOptions,
) (kubernetes.PutResponse, error) {
	if expectedRevision != 0 {
		opts.GetOnFailure = true
	}
	return w.Interface.OptimisticPut(ctx, key, value, expectedRevision, opts)
}

// OptimisticDelete deletes a key if it has the expected revision.
func (w wholeTxns) OptimisticDelete(ctx context.Context, key string, expectedRevision int64, opts kubernetes.DeleteOptions,
) (kubernetes.DeleteResponse, error) {
	opts.GetOnFailure = true
	return w.Interface.OptimisticDelete(ctx, key, expectedRevision, opts)
}
