package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// patience is how long a test waits for what should take milliseconds.
const patience = 3 * time.Minute

// store is what the tests back up.
type store struct {
	mu       sync.Mutex
	content  string
	writeErr error // after half of the content
	damages  bool  // what arrives on the volume is something else
}

func (s *store) write(_ context.Context, w io.Writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	content := s.content
	if s.damages {
		content = "damaged"
	}
	if _, err := io.WriteString(w, content[:len(content)/2]); err != nil || s.writeErr != nil {
		return errors.Join(err, s.writeErr)
	}
	_, err := io.WriteString(w, content[len(content)/2:])
	return err
}

func (s *store) verify(_ context.Context, r io.ReadSeeker) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	got, err := io.ReadAll(r)
	if err == nil && string(got) != s.content {
		err = errors.New("checksum does not match")
	}
	return err
}

func (s *store) set(change func(*store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// world is a keeper with a store, a clock and the Events that it records.
type world struct {
	*Keeper
	t      *testing.T
	store  *store
	clock  *clocktesting.FakeClock
	events chan string
}

func newWorld(t *testing.T, schedule string, keep int) *world {
	t.Helper()
	parsed, err := ParseSchedule(schedule)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, store: &store{content: "all objects"}, events: make(chan string, 100),
		clock: clocktesting.NewFakeClock(time.Date(2026, 1, 1, 12, 30, 0, 0, time.UTC)),
	}
	w.Keeper = &Keeper{
		Dir: t.TempDir(), Schedule: parsed, Keep: keep, Write: w.store.write, Verify: w.store.verify, Clock: w.clock,
		Recorded: func(o Outcome) { w.events <- o.Message },
	}
	return w
}

// run runs the keeper for one term, until the returned function is called.
func (w *world) run() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			w.t.Fatal("Run does not end")
		}
	}
}

// idle waits until the keeper waits for its clock, and returns the names of all files.
func (w *world) idle() []string {
	w.t.Helper()
	w.awaitIdle()
	return w.files()
}

func (w *world) awaitIdle() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !w.clock.HasWaiters() {
		select {
		case <-ctx.Done():
			w.t.Fatal("the keeper does not wait")
		case <-tick.C:
		}
	}
}

func (w *world) files() []string {
	w.t.Helper()
	entries, err := os.ReadDir(w.Dir)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// advance lets time pass, and then waits until the keeper has done what was due.
func (w *world) advance(d time.Duration) []string {
	w.t.Helper()
	w.clock.Step(d)
	return w.idle()
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "0 * * * *", 2)
	stop := w.run()
	for _, step := range []struct {
		reason string
		wait   time.Duration
		want   []string
	}{
		{"The first one is taken at once.", 0, []string{"store-20260101T123000Z.backup"}},
		{"None is due yet.", 29 * time.Minute, []string{"store-20260101T123000Z.backup"}},
		{"Now one is.", time.Minute, []string{"store-20260101T123000Z.backup", "store-20260101T130000Z.backup"}},
		{"Two stay.", time.Hour, []string{"store-20260101T130000Z.backup", "store-20260101T140000Z.backup"}},
	} {
		if got := w.advance(step.wait); !slices.Equal(got, step.want) {
			t.Errorf("%s: got %v, want %v", step.reason, got, step.want)
		}
	}
	stop()
	w.clock.Step(10 * time.Minute)
	stop = w.run()
	if got := w.idle(); len(got) != 2 || got[1] != "store-20260101T140000Z.backup" {
		t.Errorf("another leader takes none before the time: %v", got)
	}
	stop()
	w.clock.Step(3 * time.Hour)
	stop = w.run()
	defer stop()
	if got := w.idle(); len(got) != 2 || got[1] != "store-20260101T171000Z.backup" {
		t.Errorf("one that was missed is taken at the start: %v", got)
	}
	info, err := os.Stat(filepath.Join(w.Dir, "store-20260101T171000Z.backup"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a backup has the tenant's Secrets: mode %v, %v", info.Mode(), err)
	}
}

// TestClockWasAhead begins with backups of a leader whose clock was ahead. They neither delay
// the next backup nor take the place of a newer one.
func TestClockWasAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "0 * * * *", 2)
	for _, at := range []time.Time{w.clock.Now().Add(2 * time.Hour), w.clock.Now().AddDate(10, 0, 0)} {
		if err := os.WriteFile(filepath.Join(w.Dir, fileName(at)), []byte("older than all that follow"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stop := w.run()
	defer stop()
	if got := w.idle(); !slices.Contains(got, "store-20260101T123000Z.backup") {
		t.Errorf("a backup is due at once: %v", got)
	}
	if got, want := w.advance(30*time.Minute), []string{"store-20260101T123000Z.backup", "store-20260101T130000Z.backup"}; !slices.Equal(got, want) {
		t.Errorf("the newest two stay: got %v, want %v", got, want)
	}
}

// TestNotAccepted takes no backup of a store that the operator has not accepted, as after the loss of
// a volume. It would take the place of a good one.
func TestNotAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "0 * * * *", 1)
	stop := w.run()
	good := w.idle()
	stop()
	var accepted atomic.Bool
	w.Await = func(context.Context) error {
		if accepted.Load() {
			return nil
		}
		return errors.New("the store is another one")
	}
	w.clock.Step(time.Hour)
	stop = w.run()
	defer stop()
	if got := w.idle(); !slices.Equal(got, good) {
		t.Errorf("before it is accepted: got %v, want %v", got, good)
	}
	if event := <-w.events; !strings.Contains(event, "the store is another one") {
		t.Errorf("got Event %q", event)
	}
	accepted.Store(true)
	if got := w.advance(firstRetry); slices.Equal(got, good) {
		t.Errorf("after it is accepted: got %v, want a new one", got)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason string
		breaks func(*store)
		want   string
	}{
		{"a full claim", func(s *store) { s.writeErr = errors.New("no space left on device") }, "no space left on device"},
		{"damaged on the way", func(s *store) { s.damages = true }, "checksum does not match"},
	} {
		w := newWorld(t, "0 * * * *", 1)
		stop := w.run()
		good := w.idle()
		w.store.set(c.breaks)
		if got := w.advance(30 * time.Minute); !slices.Equal(got, good) {
			t.Errorf("%s: a failure must leave the last backup alone: %v", c.reason, got)
		}
		check := w.Checks()[0]
		if check.Healthy || !strings.Contains(strings.Join(check.Details, " "), c.want) {
			t.Errorf("%s: got %+v", c.reason, check)
		}
		if event := <-w.events; !strings.Contains(event, c.want) {
			t.Errorf("%s: got Event %q", c.reason, event)
		}
		w.advance(firstRetry)
		w.store.set(func(s *store) { s.writeErr, s.damages = nil, false })
		if got := w.advance(2 * firstRetry); len(got) != 1 || got[0] == good[0] {
			t.Errorf("%s: it is retried: %v", c.reason, got)
		}
		if event := <-w.events; event != "Backups of the store succeed again." || !w.Checks()[0].Healthy {
			t.Errorf("%s: got Event %q, %+v", c.reason, event, w.Checks())
		}
		stop()
	}
}

// TestPruneFails keeps to the schedule while old backups cannot be deleted. A retry would add a
// file each time, until the claim is full.
func TestPruneFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "0 * * * *", 1)
	var broken atomic.Bool
	broken.Store(true)
	w.remove = func(path string) error {
		if broken.Load() {
			return errors.New("operation not permitted")
		}
		return os.Remove(path)
	}
	stop := w.run()
	defer stop()
	w.idle()
	for _, step := range []time.Duration{30 * time.Minute, firstRetry, lastRetry - 2*firstRetry} {
		if got := w.advance(step); len(got) != 2 {
			t.Errorf("after %s: got %v", step, got)
		}
	}
	if check := w.Checks()[0]; check.Healthy || !strings.Contains(strings.Join(check.Details, " "), "the new backup is complete, but cannot delete an old one") {
		t.Errorf("got %+v", check)
	}
	broken.Store(false)
	if got := w.advance(lastRetry + firstRetry); len(got) != 1 || !w.Checks()[0].Healthy {
		t.Errorf("the next backup prunes again: %v, %+v", got, w.Checks())
	}
}

// TestInterrupted leaves what a crash leaves, and files of others.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "@daily", 1)
	for name, content := range map[string]string{
		"store-20251231T000000Z.backup.partial": "half", "store-20251230T000000Z.backup": "old", "notes.txt": "mine", "store-x.backup": "?",
	} {
		if err := os.WriteFile(filepath.Join(w.Dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	defer w.run()()
	want := []string{"notes.txt", "store-20260101T123000Z.backup", "store-x.backup"}
	if got := w.idle(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	content, err := os.ReadFile(filepath.Join(w.Dir, want[1]))
	if err != nil || !bytes.Equal(content, []byte("all objects")) {
		t.Errorf("got %q, %v", content, err)
	}
}

func TestChecks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "0 * * * *", 1)
	if checks := w.Checks(); checks != nil {
		t.Errorf("a replica that takes none has nothing to say: %v", checks)
	}
	stop := w.run()
	w.idle()
	if check := w.Checks()[0]; !check.Healthy || !strings.Contains(check.Details[0], "store-20260101T123000Z.backup, 11 bytes") {
		t.Errorf("got %+v", check)
	}
	stop()
	w.clock.Step(2 * time.Hour)
	if check := w.Checks()[0]; check.Healthy || check.Message != "The newest backup of the store is too old." {
		t.Errorf("got %+v", check)
	}
	w.Dir = filepath.Join(w.Dir, "missing")
	defer w.run()()
	w.awaitIdle()
	if check := w.Checks()[0]; check.Healthy {
		t.Errorf("a directory that is missing must show: %+v", check)
	}
}

func TestParseSchedule(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"0 3 * * *": true, "@daily": true, "*/15 * * * *": true, "": false, "0 3 * *": false, "61 * * * *": false, "never": false,
		// A time that never comes would make every moment due.
		"0 0 30 2 *": false, "0 0 31 4,6 *": false, "0 0 29 2 *": true, "0 0 31 4 1": true,
	} {
		if _, err := ParseSchedule(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestBackupsOfEarlierClusters takes backups where those of an earlier virtual cluster are. They stay.
func TestBackupsOfEarlierClusters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "@hourly", 1)
	w.IsOwn = func(file io.ReadSeeker) bool {
		text, err := io.ReadAll(file)
		return err == nil && !strings.Contains(string(text), "earlier")
	}
	earlier := fileName(w.clock.Now().Add(-2 * time.Hour))
	if err := os.WriteFile(filepath.Join(w.Dir, earlier), []byte("earlier"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := w.run()
	w.idle()
	for range 2 {
		if files := w.advance(time.Hour); len(files) != 2 || !slices.Contains(files, earlier) {
			t.Errorf("there are %v, want one backup and %s", files, earlier)
		}
	}
	stop()
}
