package backup

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// firstRetry and lastRetry bound the pause after a backup that failed.
	firstRetry = time.Minute
	lastRetry  = 30 * time.Minute
	// grace is how long a backup may be late before it counts as too old.
	grace = 10 * time.Minute
)

// ParseSchedule returns a schedule in the format of cron, in UTC.
func ParseSchedule(text string) (cron.Schedule, error) {
	schedule, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("cannot use schedule %q: %w", text, err)
	}
	if schedule.Next(time.Date(2001, time.January, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("cannot use schedule %q: no backup would ever be due", text)
	}
	return schedule, nil
}

// Outcome is how backups went.
type Outcome struct {
	// Failed is true if backups fail, and false if they succeed again.
	Failed bool
	// Message is for a person.
	Message string
}

// Keeper takes backups on a schedule, and keeps some of them. All fields but IsOwn, Await and
// Recorded are required.
type Keeper struct {
	// Dir is where the files are. Nothing else may be there.
	Dir string
	// Schedule is when backups are due, in UTC.
	Schedule cron.Schedule
	// Keep is how many backups stay, at least 1.
	Keep int
	// Write writes the content of the store at one revision.
	Write func(ctx context.Context, w io.Writer) error
	// Verify returns why what Write has written could not be restored.
	Verify func(ctx context.Context, file io.ReadSeeker) error
	// IsOwn reports whether a backup is one of this virtual cluster. Those of an earlier one in the same place stay: they
	// may be all that is left of it. Default: all are.
	IsOwn func(file io.ReadSeeker) bool
	// Await returns once the content may be backed up, or why it must not be. A backup of a store that
	// nobody has accepted would take the place of a good one. Default: it always may.
	Await func(ctx context.Context) error
	// Recorded records that backups fail, and that they succeed again. Default: nothing.
	Recorded func(Outcome)
	// Clock is the time.
	Clock clock.Clock

	remove    func(path string) error // default: os.Remove
	mu        sync.Mutex
	last      File // the newest backup, zero if there is none
	due       time.Time
	lastError string
}

// Run takes backups until ctx ends. No failure ends it. Only the leader runs it.
func (k *Keeper) Run(ctx context.Context) error {
	k.begin()
	pause := firstRetry
	for {
		due := k.nextDue()
		if wait := due.Sub(k.Clock.Now()); wait > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-k.Clock.After(wait):
			}
		}
		file, err := k.take(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // The term has ended, which is no failure.
		case err == nil:
			k.complete(file)
			pause = firstRetry
			continue
		}
		k.recordFailure(err)
		select {
		case <-ctx.Done():
			return nil
		case <-k.Clock.After(pause):
		}
		pause = min(2*pause, lastRetry)
	}
}

// begin learns which backups there are.
func (k *Keeper) begin() {
	files, err := k.listOwn(k.Clock.Now())
	if err != nil {
		k.recordFailure(err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last, k.lastError = File{}, ""
	if len(files) > 0 {
		k.last = files[0]
		observe(k.last)
	}
}

// nextDue returns when the next backup is due: at once if there is none, or if one was
// missed while nobody ran. One from after now does not count, as a clock was ahead.
func (k *Keeper) nextDue() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.due = k.Clock.Now()
	if !k.last.Time.IsZero() && !k.last.Time.After(k.due) {
		k.due = k.Schedule.Next(k.last.Time.UTC())
	}
	return k.due
}

// take writes one backup.
func (k *Keeper) take(ctx context.Context) (File, error) {
	if k.Await != nil {
		if err := k.Await(ctx); err != nil {
			return File{}, err
		}
	}
	start := k.Clock.Now()
	file, err := k.write(ctx, start)
	if err != nil {
		return File{}, err
	}
	registered().duration.Set(k.Clock.Since(start).Seconds())
	return file, nil
}

// complete records a complete backup, and deletes those that are too many. If that fails, the
// next backup tries again: a retry at once would write one more file.
func (k *Keeper) complete(file File) {
	k.mu.Lock()
	failed := k.lastError != ""
	k.last = file
	k.mu.Unlock()
	observe(file)
	klog.InfoS("Backup of the store written", "file", file.Name, "bytes", file.Size)
	if err := k.prune(file); err != nil {
		k.recordFailure(err)
		return
	}
	k.mu.Lock()
	k.lastError = ""
	k.mu.Unlock()
	if failed && k.Recorded != nil {
		k.Recorded(Outcome{Message: "Backups of the store succeed again."})
	}
}

// recordFailure records why a backup failed. The log has each reason once.
func (k *Keeper) recordFailure(err error) {
	k.mu.Lock()
	before := k.lastError
	k.lastError = err.Error()
	k.mu.Unlock()
	registered().failures.Inc()
	if before == err.Error() {
		return
	}
	klog.ErrorS(err, "Cannot back up the store, retrying")
	if k.Recorded != nil {
		k.Recorded(Outcome{Failed: true, Message: "Cannot back up the store: " + err.Error()})
	}
}
