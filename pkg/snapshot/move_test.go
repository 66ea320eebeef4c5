package snapshot

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// pairs returns the moves between two kinds of store.
func pairs() map[string]func(t *testing.T) (source, target Store) {
	return map[string]func(t *testing.T) (source, target Store){
		"embedded to external": func(t *testing.T) (Store, Store) { t.Helper(); return embedded(t), external(t) },
		"external to embedded": func(t *testing.T) (Store, Store) { t.Helper(); return external(t), embedded(t) },
		"embedded to sqlite":   func(t *testing.T) (Store, Store) { t.Helper(); return embedded(t), sqlite(t) },
		"sqlite to embedded":   func(t *testing.T) (Store, Store) { t.Helper(); return sqlite(t), embedded(t) },
		"external to sqlite":   func(t *testing.T) (Store, Store) { t.Helper(); return external(t), sqlite(t) },
		"embedded to postgres": func(t *testing.T) (Store, Store) { t.Helper(); return embedded(t), postgres(t) },
		"postgres to mariadb":  func(t *testing.T) (Store, Store) { t.Helper(); return postgres(t), mariadb(t) },
		"mariadb to external":  func(t *testing.T) (Store, Store) { t.Helper(); return mariadb(t), external(t) },
		"external to external": func(t *testing.T) (Store, Store) { t.Helper(); return external(t), external(t) },
	}
}

// snapshotOf is what a test compares of a store.
type snapshotOf struct {
	values  map[string]string
	lowest  int64 // revision of the oldest key
	highest int64 // revision of the store
}

func read(t *testing.T, store Store) snapshotOf {
	t.Helper()
	seen := snapshotOf{values: map[string]string{}}
	use(t, store, func(client *clientv3.Client) {
		got, err := client.Get(t.Context(), contentPrefix, clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		seen.highest = got.Header.Revision
		for _, kv := range withoutHealth(got.Kvs) {
			seen.values[string(kv.Key)] = string(kv.Value)
			if seen.lowest == 0 || kv.ModRevision < seen.lowest {
				seen.lowest = kv.ModRevision
			}
		}
	})
	return seen
}

// TestMove moves between two kinds of store. Nothing is missing and no revision goes
// back. A watch from before the move has to list again.
func TestMove(t *testing.T) {
	t.Parallel()
	for name, pair := range pairs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, target := pair(t)
			fill(t, source, 1200)
			before := read(t, source)
			result, err := newMover(source, target).Run(t.Context())
			if err != nil {
				t.Fatalf("Run: %v", err)
			}
			if !result.Moved || result.Record.Digest.Keys != 1200 || result.Record.Digest.Expiring != 7 {
				t.Errorf("Run: got %+v, want 1200 keys and 7 that expire", result)
			}
			checkMoved(t, source, target, before)
			again, err := newMover(source, target).Run(t.Context())
			if err != nil || again.Moved {
				t.Errorf("second Run: got %+v, %v, want nothing to do", again, err)
			}
		})
	}
}

// checkMoved verifies the outcome of a move.
func checkMoved(t *testing.T, source, target Store, before snapshotOf) {
	t.Helper()
	after := read(t, target)
	if diff := cmp.Diff(before.values, after.values); diff != "" {
		t.Errorf("the target differs (-source +target):\n%s", diff)
	}
	if diff := cmp.Diff(before.values, read(t, source).values); diff != "" {
		t.Errorf("the source was changed (-before +after):\n%s", diff)
	}
	if after.lowest <= before.highest {
		t.Errorf("a key of the target has revision %d, but clients have seen %d", after.lowest, before.highest)
	}
	use(t, source, func(client *clientv3.Client) {
		s, err := readState(t.Context(), client)
		if err != nil || s.mark == nil || s.mark.Phase != PhaseMoved {
			t.Errorf("mark of the source: got %+v, %v, want Moved", s.mark, err)
		}
	})
	use(t, target, func(client *clientv3.Client) {
		s, err := readState(t.Context(), client)
		if err != nil || s.record == nil || s.record.Phase != PhaseDone || s.cluster != anchor {
			t.Errorf("state of the target: got %+v, %v, want Done and an identity", s, err)
		}
		watch := client.Watch(t.Context(), contentPrefix, clientv3.WithPrefix(), clientv3.WithRev(before.highest))
		if first := <-watch; !errors.Is(first.Err(), rpctypes.ErrCompacted) {
			t.Errorf("watch from before the move: got %v, want %v", first.Err(), rpctypes.ErrCompacted)
		}
		got, err := client.Get(t.Context(), "/registry/events/default/e0")
		if err != nil || len(got.Kvs) != 1 || got.Kvs[0].Lease == 0 {
			t.Fatalf("event: got %v, %v, want one with a lease", got, err)
		}
		if got.Kvs[0].Lease <= 1000 {
			return // In SQL stores the lease is the lifetime.
		}
		left, err := client.TimeToLive(t.Context(), clientv3.LeaseID(got.Kvs[0].Lease))
		if err != nil || left.TTL > 1000 || left.TTL < 900 {
			t.Errorf("lifetime of the event: got %v, %v, want what is left of 1000 s", left, err)
		}
	})
}
