package snapshot

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// errKilled ends a move as a kill does: nothing is cleaned up.
var errKilled = errors.New("killed")

// allPoints returns the moments at which a move is interrupted.
func allPoints() []Point {
	return []Point{
		PointStarted, PointTargetChecked, PointSourceOpened, PointSourceChecked, PointSourceMarked, PointTargetReset, PointTargetOpened,
		PointTargetRaised, PointRecordWritten, PointFirstPage, PointNextPage, PointCopied, PointVerified, PointSourceUnchanged,
		PointIdentityWritten, PointRecordCopied, PointDeciding, PointDecided, PointFinishing, PointFinished,
	}
}

// kill runs a move that ends at the given point, and reports whether it came there.
func kill(t *testing.T, mover *Mover, at Point) bool {
	t.Helper()
	mover.At = func(point Point) error {
		if point == at {
			return errKilled
		}
		return nil
	}
	_, err := mover.Run(t.Context())
	mover.At = nil
	if err != nil && !errors.Is(err, errKilled) {
		t.Fatalf("move to be killed at %q: %v", at, err)
	}
	return err != nil
}

// refusalOf returns why a store must not be served, nil if it may. It changes nothing.
func refusalOf(t *testing.T, store Store, recorded string) (refusal error) {
	t.Helper()
	use(t, store, func(client *clientv3.Client) {
		found, err := readState(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		served := &Served{Location: store.Location, Recorded: func() string { return recorded }}
		refusal = served.refusal(found)
	})
	return refusal
}

// TestInterruptedMove ends a move at each point. Never can both stores be served. The
// next attempt completes the move, whatever the first one has left.
//
//nolint:tparallel // The subtests start servers first.
func TestInterruptedMove(t *testing.T) {
	pairs := []pair{{kindEmbedded, kindSQLite}, {kindSQLite, kindEmbedded}, {kindExternal, kindEmbedded}}
	forEachPair(t, pairs, func(t *testing.T, from, to location) {
		source, target := from.store(), to.store()
		fill(t, source, firstPage)
		before := read(t, source)
		var killed []Point
		for _, point := range allPoints() {
			if kill(t, newMover(source, target), point) {
				killed = append(killed, point)
				checkInterrupted(t, source, target, killed)
			}
		}
		if _, err := newMover(source, target).Run(t.Context()); err != nil {
			t.Fatalf("last attempt: %v", err)
		}
		checkMoved(t, source, target, before)
		if err := refusalOf(t, target, source.Location); err != nil {
			t.Errorf("target after the move: %v", err)
		}
	})
	t.Parallel()
}

// checkInterrupted verifies after interruptions at some points that one store can be
// served: the source until the move is decided.
func checkInterrupted(t *testing.T, source, target Store, at []Point) {
	t.Helper()
	isDecided := slices.ContainsFunc(at, isDecidedAt)
	// The anchor records the source until the target has opened.
	fromSource, fromTarget := refusalOf(t, source, source.Location), refusalOf(t, target, source.Location)
	if fromSource == nil && fromTarget == nil {
		t.Errorf("killed at %q: both stores can be served", at)
	}
	if (fromSource == nil) == isDecided {
		t.Errorf("killed at %q: source: got %v, want it to be served until the move is decided", at, fromSource)
	}
}

// isDecidedAt reports whether a move is decided once it has come to a point.
func isDecidedAt(point Point) bool {
	points := allPoints()
	return slices.Index(points, point) >= slices.Index(points, PointDecided)
}

// TestGoBack kills a move at each point before its decision and serves the source
// again, which the interrupted mover then cannot switch from.
func TestGoBack(t *testing.T) {
	t.Parallel()
	source, target := embedded(t), external(t)
	fill(t, source, 600)
	for _, point := range allPoints() {
		if point == PointDecided {
			break
		}
		kill(t, newMover(source, target), point)
		use(t, source, func(client *clientv3.Client) {
			served := &Served{Location: source.Location, By: "release-0"}
			if err := served.admit(t.Context(), client); err != nil {
				t.Errorf("killed at %q, source: %v", point, err)
			}
			found, err := readState(t.Context(), client)
			if err != nil || found.mark != nil {
				t.Errorf("killed at %q: the source has mark %+v, %v, want none", point, found.mark, err)
			}
			if _, err := client.Put(t.Context(), contentPrefix+"after/"+string(point), "1"); err != nil {
				t.Fatal(err)
			}
		})
	}
	before := read(t, source)
	if _, err := newMover(source, target).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkMoved(t, source, target, before)
}

// TestSourceServedMeanwhile shows that a move does not switch from a store that
// somebody has gone back to.
func TestSourceServedMeanwhile(t *testing.T) {
	t.Parallel()
	source, target := external(t), external(t)
	fill(t, source, 10)
	mover := newMover(source, target)
	mover.At = func(point Point) error {
		if point == PointDeciding {
			use(t, source, func(client *clientv3.Client) {
				if err := (&Served{Location: source.Location, By: "release-0"}).admit(t.Context(), client); err != nil {
					t.Error(err)
				}
			})
		}
		return nil
	}
	if _, err := mover.Run(t.Context()); !errors.Is(err, errConflict) {
		t.Errorf("Run: got %v, want %v", err, errConflict)
	}
	if err := refusalOf(t, source, ""); err != nil {
		t.Errorf("source: %v", err)
	}
	if err := refusalOf(t, target, ""); err == nil {
		t.Error("the target can be served, although the source is")
	}
}

// TestSourceChanges shows that a write of another replica to the source is not lost.
func TestSourceChanges(t *testing.T) {
	t.Parallel()
	source, target := external(t), embedded(t)
	fill(t, source, 10)
	mover := newMover(source, target)
	mover.At = func(point Point) error {
		if point == PointCopied {
			use(t, source, func(client *clientv3.Client) {
				if _, err := client.Put(t.Context(), contentPrefix+"late", "1"); err != nil {
					t.Error(err)
				}
			})
		}
		return nil
	}
	if _, err := mover.Run(t.Context()); !errors.Is(err, errSourceChanged) {
		t.Errorf("Run: got %v, want %v", err, errSourceChanged)
	}
	before := read(t, source)
	if _, err := newMover(source, target).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkMoved(t, source, target, before)
}

// TestThereAndBack moves to another store and back into the first.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	first, second := embedded(t), external(t)
	fill(t, first, 100)
	for round := range 3 {
		from, to := first, second
		if round%2 == 1 {
			from, to = second, first
		}
		use(t, from, func(client *clientv3.Client) {
			if _, err := client.Put(t.Context(), contentPrefix+"round", string(rune('a'+round))); err != nil {
				t.Fatal(err)
			}
		})
		before := read(t, from)
		if result, err := newMover(from, to).Run(t.Context()); err != nil || !result.Moved {
			t.Fatalf("round %d: got %+v, %v, want a move", round, result, err)
		}
		checkMoved(t, from, to, before)
	}
}

// TestRefusals shows that a move that must not be leaves both stores as they were.
func TestRefusals(t *testing.T) {
	t.Parallel()
	putKey := func(key, value string) func(t *testing.T, store Store) {
		return func(t *testing.T, store Store) {
			t.Helper()
			use(t, store, func(client *clientv3.Client) {
				if _, err := client.Put(t.Context(), key, value); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
	none := func(*testing.T, Store) {}
	other := putKey(identityKey, `{"anchor":"anchor-2"}`)
	for _, c := range []struct {
		reason         string
		source, target func(t *testing.T, store Store)
		want           string
	}{
		{"an empty source", none, none, "cannot move from SOURCE: the store has no objects"},
		{
			"a source of another virtual cluster", other, none,
			"cannot move from SOURCE: it belongs to another virtual cluster, with anchor anchor-2",
		},
		{
			"a target of another virtual cluster", none, other,
			"cannot move to TARGET: it belongs to another virtual cluster, with anchor anchor-2",
		},
		{
			"a target with objects", none, putKey(contentPrefix+"a", "1"),
			"cannot move to TARGET: it is not empty; empty it, or remove controlPlane.backingStore.moveFrom to use it as it is",
		},
		{
			"a source that nobody owns", putKey(contentPrefix+"a", "1"), none,
			"cannot move from SOURCE: it has no identity, so that nobody knows whose it is",
		},
		{
			"a source that was moved", putKey(markKey, `{"phase":"Moved","to":"elsewhere","time":"2026-01-02T03:04:05Z"}`), none,
			"cannot move from SOURCE: it was moved to elsewhere on 2026-01-02 03:04 UTC and is out of date",
		},
		{
			"a source that is half a copy", putKey(recordKey, `{"phase":"Copying","from":"elsewhere"}`), none,
			"cannot move from SOURCE: a move from elsewhere to it is not finished",
		},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			source, target := external(t), external(t)
			source.Location, target.Location = "SOURCE", "TARGET"
			c.source(t, source)
			c.target(t, target)
			sourceBefore, targetBefore := everything(t, source), everything(t, target)
			_, err := newMover(source, target).Run(t.Context())
			if err == nil || err.Error() != c.want {
				t.Errorf("Run:\n got %v\nwant %s", err, c.want)
			}
			if diff := cmp.Diff(sourceBefore, everything(t, source)); diff != "" {
				t.Errorf("the source was changed:\n%s", diff)
			}
			if diff := cmp.Diff(targetBefore, everything(t, target)); diff != "" {
				t.Errorf("the target was changed:\n%s", diff)
			}
		})
	}
}

// everything returns all keys of a store.
func everything(t *testing.T, store Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	use(t, store, func(client *clientv3.Client) {
		got, err := client.Get(t.Context(), "/", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range got.Kvs {
			all[string(kv.Key)] = string(kv.Value)
		}
	})
	return all
}
