package snapshot

import (
	"context"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// shortestTTL is the least lifetime in seconds that a key gets in its new store. It
	// must outlive the verification.
	shortestTTL = 60
	// longestTTL bounds a lifetime that was read from a lease number: a year, in seconds.
	longestTTL = 365 * 24 * 60 * 60
)

// leaseReader returns the remaining lifetimes of leases.
type leaseReader struct {
	client *clientv3.Client
	ttls   map[int64]int64 // lease -> remaining lifetime in seconds
}

func newLeaseReader(client *clientv3.Client) *leaseReader {
	return &leaseReader{client, map[int64]int64{}}
}

// ttl returns the remaining lifetime of a lease in seconds. SQL stores do not know
// it: there the number of a lease is its whole lifetime.
func (l *leaseReader) ttl(ctx context.Context, lease int64) int64 {
	if lease == 0 {
		return 0
	}
	if ttl, ok := l.ttls[lease]; ok {
		return ttl
	}
	ttl := lease
	if got, err := l.client.TimeToLive(ctx, clientv3.LeaseID(lease)); err == nil {
		ttl = got.TTL
	}
	ttl = min(max(ttl, shortestTTL), longestTTL)
	l.ttls[lease] = ttl
	return ttl
}

// leaseWriter grants leases in the new store: one for each lifetime.
type leaseWriter struct {
	client *clientv3.Client

	mu     sync.Mutex
	leases map[int64]clientv3.LeaseID // lifetime in seconds -> lease
}

func newLeaseWriter(client *clientv3.Client) *leaseWriter {
	return &leaseWriter{client: client, leases: map[int64]clientv3.LeaseID{}}
}

// options returns how to write a key with the given lifetime in seconds.
func (l *leaseWriter) options(ctx context.Context, ttl int64) ([]clientv3.OpOption, error) {
	if ttl == 0 {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lease, ok := l.leases[ttl]
	if !ok {
		granted, err := l.client.Grant(ctx, ttl)
		if err != nil {
			return nil, fmt.Errorf("cannot grant a lease of %d s: %w", ttl, err)
		}
		lease = granted.ID
		l.leases[ttl] = lease
	}
	return []clientv3.OpOption{clientv3.WithLease(lease)}, nil
}
