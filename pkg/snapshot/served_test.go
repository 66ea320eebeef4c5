package snapshot

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/test/databases"
)

// TestAdmit opens a store in every state that a move can leave it in.
func TestAdmit(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	encodeMark := func(phase Phase, by string, age time.Duration) string {
		return encode(Mark{ID: "1", Phase: phase, To: "ELSEWHERE", By: by, Time: now.Add(-age)})
	}
	for _, c := range []struct {
		reason     string
		keys       map[string]string
		recorded   string
		want       string
		wantMarked bool
	}{
		{"a new store of a new virtual cluster", nil, "", "", false},
		{"an empty store that served last", nil, "HERE", "", false},
		{
			"an empty store, and another that served last", nil, "ELSEWHERE",
			"HERE is empty, and the virtual cluster is in ELSEWHERE. " +
				"Set controlPlane.backingStore.moveFrom to that one to move it, or set the backing store back", false,
		},
		{"a filled store, and another that served last", map[string]string{contentPrefix + "a": "1"}, "ELSEWHERE", "", false},
		{"a store that SQL has touched", map[string]string{healthKey: "1"}, "ELSEWHERE", "HERE is empty, and the virtual cluster is in ELSEWHERE. " +
			"Set controlPlane.backingStore.moveFrom to that one to move it, or set the backing store back", false},
		{
			"half a copy", map[string]string{recordKey: encode(Record{Phase: PhaseCopying, From: "ELSEWHERE"})}, "ELSEWHERE",
			"a move from ELSEWHERE to HERE is not finished. " +
				"Set controlPlane.backingStore.moveFrom to ELSEWHERE again, or set the backing store back to it", false,
		},
		{
			"a copy that is not decided", map[string]string{recordKey: encode(Record{Phase: PhaseCopied, From: "ELSEWHERE"})}, "ELSEWHERE",
			"a move from ELSEWHERE to HERE is not finished. " +
				"Set controlPlane.backingStore.moveFrom to ELSEWHERE again, or set the backing store back to it", false,
		},
		{
			"half a restore", map[string]string{recordKey: encode(Record{ID: restorePrefix + "1", Phase: PhaseCopying, From: "dump of revision 7"})}, "HERE",
			"the restore into HERE from a dump of revision 7 is not finished. Repeat it with the same backup, or empty the store", false,
		},
		{"a store that was moved to", map[string]string{recordKey: encode(Record{Phase: PhaseDone})}, "", "", false},
		{
			"a store that was moved away", map[string]string{markKey: encodeMark(PhaseMoved, "release-0", time.Hour)}, "ELSEWHERE",
			"HERE was moved to ELSEWHERE on 2026-01-02 02:04 UTC and is out of date. " +
				"Set the backing store to that one, or set controlPlane.backingStore.moveFrom to it to move back", true,
		},
		{"an own move that was interrupted", map[string]string{markKey: encodeMark(PhaseMoving, "release-0", time.Second)}, "HERE", "", false},
		{
			"a move of another replica", map[string]string{markKey: encodeMark(PhaseMoving, "release-2", time.Second)}, "HERE",
			"waiting for release-2, which moves HERE to ELSEWHERE", true,
		},
		{"a move of a replica that is gone, and whose clock was ahead", map[string]string{markKey: encodeMark(PhaseMoving, "release-2", -time.Hour)}, "HERE", "", false},
		{"a move of a replica that is gone", map[string]string{markKey: encodeMark(PhaseMoving, "release-2", time.Hour)}, "HERE", "", false},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			use(t, embedded(t), func(client *clientv3.Client) {
				for key, value := range c.keys {
					if _, err := client.Put(t.Context(), key, value); err != nil {
						t.Fatal(err)
					}
				}
				served := NewServed(nil, "HERE")
				served.By, served.Clock = "release-0", testingclock.NewFakePassiveClock(now)
				served.Recorded = func() string { return c.recorded }
				err := served.admit(t.Context(), client)
				if got := message(err); got != c.want {
					t.Errorf("admit:\n got %s\nwant %s", got, c.want)
				}
				found, err := readState(t.Context(), client)
				if err != nil || (found.mark != nil) != c.wantMarked {
					t.Errorf("mark: got %+v, %v, want one: %v", found.mark, err, c.wantMarked)
				}
			})
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestTwoMovers starts a second replica during the move. It waits, and takes over once
// the first one is gone.
func TestTwoMovers(t *testing.T) {
	t.Parallel()
	source, target := external(t), external(t)
	fill(t, source, 700)
	before := read(t, source)
	first, second := newMover(source, target), newMover(source, target)
	second.By = "release-1"
	kill(t, first, PointFirstPage)
	want := "waiting for release-0, which moves " + source.Location + " to " + target.Location
	if _, err := second.Run(t.Context()); message(err) != want {
		t.Errorf("second replica: got %v, want %s", err, want)
	}
	second.Clock = testingclock.NewFakePassiveClock(first.Clock.Now().Add(abandonedAfter))
	if _, err := second.Run(t.Context()); err != nil {
		t.Fatalf("second replica, once the first is gone: %v", err)
	}
	checkMoved(t, source, target, before)
	if result, err := first.Run(t.Context()); err != nil || result.Moved {
		t.Errorf("first replica, back again: got %+v, %v, want nothing to do", result, err)
	}
}

// TestTakenOver shows that a replica which was suspended during its move does not decide
// it once another has taken it over.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	source, target := external(t), external(t)
	fill(t, source, 10)
	before := read(t, source)
	first, second := newMover(source, target), newMover(source, target)
	second.By, second.Clock = "release-1", testingclock.NewFakePassiveClock(first.Clock.Now().Add(abandonedAfter))
	first.At = func(point Point) error {
		if point == PointDeciding {
			if _, err := second.Run(t.Context()); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	if _, err := first.Run(t.Context()); !errors.Is(err, errConflict) {
		t.Errorf("Run: got %v, want %v", err, errConflict)
	}
	checkMoved(t, source, target, before)
}

// TestFence shows that a replica stops when another one moves its store.
func TestFence(t *testing.T) {
	t.Parallel()
	source, target := external(t), embedded(t)
	fill(t, source, 10)
	backend, err := source.Open()
	if err != nil {
		t.Fatal(err)
	}
	served := NewServed(backend, source.Location)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := served.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer served.Stop()
	fenced := make(chan error, 1)
	go func() { fenced <- served.RunFence(ctx) }()
	if _, err := newMover(source, target).Run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*MovingError](<-fenced); !ok {
		t.Error("the fence returned no *MovingError")
	}
}

// TestServedMoves starts a backend that has to move first, twice.
func TestServedMoves(t *testing.T) {
	t.Parallel()
	source, target := embedded(t), external(t)
	fill(t, source, 10)
	before := read(t, source)
	for range 2 {
		backend, err := target.Open()
		if err != nil {
			t.Fatal(err)
		}
		served := NewServed(backend, target.Location)
		served.Recorded = func() string { return source.Location }
		served.Mover = newMover(source, target)
		if _, err := served.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		served.Stop()
	}
	checkMoved(t, source, target, before)

	// Another source is not the store that served last.
	stranger := NewServed(nil, target.Location)
	stranger.Mover = newMover(Store{Location: "STRANGER", Open: func() (storage.Backend, error) { return nil, errors.ErrUnsupported }}, target)
	stranger.Recorded = func() string { return "HERE" }
	want := "cannot move from STRANGER: the store of this virtual cluster is HERE; set controlPlane.backingStore.moveFrom to it"
	if err := stranger.move(t.Context()); message(err) != want {
		t.Errorf("move from a stranger: got %v, want %s", err, want)
	}
}

// TestCurrentRevision puts a database back to an earlier state while it is open.
func TestCurrentRevision(t *testing.T) {
	databases.SkipUnderRace(t)
	t.Parallel()
	folder := t.TempDir()
	served := NewServed(storage.SQLite(folder), "HERE")
	if revision, err := served.CurrentRevision(t.Context()); err != nil || revision != 0 {
		t.Errorf("before the start: %d, %v", revision, err)
	}
	client, err := served.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer served.Stop()
	putKey := func(key string) int64 {
		response, err := client.Kubernetes.OptimisticPut(t.Context(), key, []byte("x"), 0, kubernetes.PutOptions{})
		if err != nil || !response.Succeeded {
			t.Fatalf("put %s: %v", key, err)
		}
		return response.Revision
	}
	earlier := putKey(systemKey)
	for i := range 5 {
		putKey(fmt.Sprintf("/registry/pods/%d", i))
	}
	if revision, err := served.CurrentRevision(t.Context()); err != nil || revision != earlier+5 {
		t.Errorf("got %d, want %d: %v", revision, earlier+5, err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.db"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	database, err := sql.Open("sqlite", files[0]+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = database.Close() }()
	if _, err := database.ExecContext(t.Context(), "DELETE FROM kine WHERE id > ?", earlier); err != nil {
		t.Fatal(err)
	}
	if revision, err := served.CurrentRevision(t.Context()); err != nil || revision != earlier {
		t.Errorf("after the database was put back: got %d, want %d: %v", revision, earlier, err)
	}
	putKey("/registry/pods/first") // Without any row, kine answers with an error.
	if _, err := database.ExecContext(t.Context(), "DELETE FROM kine WHERE name = ?", systemKey); err != nil {
		t.Fatal(err)
	}
	if revision, err := served.CurrentRevision(t.Context()); err != nil || revision != 1 {
		t.Errorf("after the database was emptied: got %d, want 1: %v", revision, err)
	}
}
