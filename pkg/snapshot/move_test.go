package snapshot

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// snapshotOf is what a test compares of a store.
type snapshotOf struct {
	values    map[string]string
	revisions map[string]int64 // key -> revision
	lowest    int64            // revision of the oldest key
	highest   int64            // revision of the store
}

func read(t *testing.T, store Store) snapshotOf {
	t.Helper()
	seen := snapshotOf{values: map[string]string{}, revisions: map[string]int64{}}
	use(t, store, func(client *clientv3.Client) {
		got, err := client.Get(t.Context(), contentPrefix, clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		seen.highest = got.Header.Revision
		for _, kv := range withoutHealth(got.Kvs) {
			seen.values[string(kv.Key)], seen.revisions[string(kv.Key)] = string(kv.Value), kv.ModRevision
			if seen.lowest == 0 || kv.ModRevision < seen.lowest {
				seen.lowest = kv.ModRevision
			}
		}
	})
	return seen
}

// TestMove moves between all kinds of store. Nothing is missing and no revision goes
// back. A watch from before the move has to list again.
//
//nolint:tparallel // The subtests start servers first.
func TestMove(t *testing.T) {
	forEachPair(t, allPairs(), func(t *testing.T, from, to location) {
		source, target := from.store(), to.store()
		fill(t, source, 600)
		before := read(t, source)
		result, err := newMover(source, target).Run(t.Context())
		if err != nil {
			t.Fatalf("Run: %v", err)
		}
		if !result.Moved || result.Record.Digest.Keys != 600 || result.Record.Digest.Expiring != events {
			t.Errorf("Run: got %+v, want 600 keys and %d that expire", result, events)
		}
		checkMoved(t, source, target, before)
		use(t, source, func(first *clientv3.Client) {
			use(t, target, func(second *clientv3.Client) {
				if got, err := VerifyStores(t.Context(), first, second); err != nil || got.Hash != result.Record.Digest.Hash {
					t.Errorf("VerifyStores: got %s, %v, want %s", got, err, result.Record.Digest)
				}
			})
		})
		again, err := newMover(source, target).Run(t.Context())
		if err != nil || again.Moved {
			t.Errorf("second Run: got %+v, %v, want nothing to do", again, err)
		}
	})
	t.Parallel()
}

// checkMoved verifies the outcome of a move.
func checkMoved(t *testing.T, source, target Store, before snapshotOf) {
	t.Helper()
	left, after := read(t, source), read(t, target)
	if diff := cmp.Diff(before.values, after.values); diff != "" {
		t.Errorf("the target differs (-source +target):\n%s", diff)
	}
	if diff := cmp.Diff(before.values, left.values); diff != "" {
		t.Errorf("the source was changed (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(before.revisions, left.revisions); diff != "" {
		t.Errorf("the source was written to (-before +after):\n%s", diff)
	}
	if after.lowest <= max(before.highest, left.highest) {
		t.Errorf("a key of the target has revision %d, but clients have seen %d", after.lowest, left.highest)
	}
	use(t, source, func(client *clientv3.Client) {
		s, err := readState(t.Context(), client)
		if err != nil || s.mark == nil || s.mark.Phase != PhaseMoved || s.mark.To != target.Location {
			t.Errorf("mark of the source: got %+v, %v, want Moved to %s", s.mark, err, target.Location)
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
		checkLifetimes(t, client)
	})
}

// checkLifetimes verifies that each event has its lifetime, without what a test takes. SQL
// stores give it the whole one.
func checkLifetimes(t *testing.T, client *clientv3.Client) {
	t.Helper()
	leases := newLeaseReader(client)
	for i := range events {
		got, err := client.Get(t.Context(), eventKey(i))
		if err != nil || len(got.Kvs) != 1 || got.Kvs[0].Lease == 0 {
			t.Fatalf("%s: got %v, %v, want one with a lease", eventKey(i), got, err)
		}
		want := eventTTL(i)
		if left := leases.ttl(t.Context(), got.Kvs[0].Lease); left > want || left < want-500 {
			t.Errorf("%s: got a lifetime of %d s, want what is left of %d s", eventKey(i), left, want)
		}
	}
}
