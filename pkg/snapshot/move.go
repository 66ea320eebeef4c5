package snapshot

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/storage"
)

const (
	// openTimeout bounds the start of each of the two stores.
	openTimeout = 30 * time.Second

	// renewPeriod is how often the mark is renewed. A mark that is older than
	// abandonedAfter is that of a replica which has gone.
	renewPeriod    = 15 * time.Second
	abandonedAfter = 2 * time.Minute
)

// Store is one of the two stores of a move.
type Store struct {
	// Location names the store in messages and records. It has no credentials.
	Location string
	// Open returns the store. It is not started.
	Open func() (storage.Backend, error)
	// OnVolume is true for a store on the volume of this process. Nobody else can
	// write to it, and one of an earlier release has no identity.
	OnVolume bool
}

// Mover moves a virtual cluster from one store to another.
type Mover struct {
	// Source has the virtual cluster, and Target gets it.
	Source, Target Store
	// Cluster is the UID of the anchor of the virtual cluster.
	Cluster string
	// Identity is the value of the identity that the target gets.
	Identity string
	// By is the replica that moves.
	By string
	// Clock is the time.
	Clock clock.PassiveClock
	// Report is called at each step, for the log. Default: nothing is reported.
	Report func(step string, details ...any)
	// At is called at each point, and ends the move with its error. Tests
	// interrupt the move there. Default: nothing happens.
	At func(Point) error
}

// Result is the outcome of a move.
type Result struct {
	// Moved is false if the target had been moved to before.
	Moved bool
	// Record is the one that the target has.
	Record Record
}

// Run moves the store. If an earlier call was interrupted, it continues or starts
// over. It does nothing if the move is over already.
//
// Before the mark in the source is finished, an error leaves the source as the store
// of the virtual cluster. A call after that finishes the move.
func (m *Mover) Run(ctx context.Context) (*Result, error) {
	run := newRun(*m)
	defer run.close()
	return run.move(ctx)
}

// moveRun is one attempt to move a store. A restore is one too, of which only the target exists.
type moveRun struct {
	Mover

	source, target           *clientv3.Client
	closeSource, closeTarget func()
	capabilities             storage.Capabilities // of the target
	sourceState, targetState *state
	record                   Record
	recordRevision           int64
	mark                     Mark
	markRevision             int64
}

// newRun returns a run with the defaults of the mover.
func newRun(m Mover) *moveRun {
	if m.Report == nil {
		m.Report = func(string, ...any) {}
	}
	if m.At == nil {
		m.At = func(Point) error { return nil }
	}
	return &moveRun{Mover: m}
}

// move takes the steps of a move in their order.
func (r *moveRun) move(ctx context.Context) (*Result, error) {
	if err := r.openTarget(ctx); err != nil {
		return nil, err
	}
	if done := r.earlierResult(); done != nil {
		return done, nil
	}
	if err := r.checkTarget(); err != nil {
		return nil, err
	}
	if err := r.openSource(ctx); err != nil {
		return nil, err
	}
	if r.isDecided() {
		r.Report("The move was decided before, finishing it")
		r.record, r.recordRevision = *r.targetState.record, r.targetState.recordRevision
		return r.finish(ctx)
	}
	if err := r.checkSource(); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{r.claimSource, r.prepareTarget, r.copy, r.verify, r.decide} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return r.finish(ctx)
}

// open starts a store and reads its state.
func open(ctx context.Context, store Store) (*clientv3.Client, *state, func(), error) {
	backend, err := store.Open()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot open %s: %w", store.Location, err)
	}
	client, err := start(ctx, store, backend)
	if err != nil {
		return nil, nil, nil, err
	}
	s, err := readState(ctx, client)
	if err != nil {
		backend.Stop()
		return nil, nil, nil, fmt.Errorf("cannot open %s: %w", store.Location, err)
	}
	return client, s, backend.Stop, nil
}

// start starts a store.
func start(ctx context.Context, store Store, backend storage.Backend) (*clientv3.Client, error) {
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	client, err := backend.Start(opening)
	if err != nil {
		backend.Stop()
		return nil, fmt.Errorf("cannot open %s: %w", store.Location, err)
	}
	return client.Client, nil
}

func (r *moveRun) openTarget(ctx context.Context) (err error) {
	if err := r.At(PointStarted); err != nil {
		return err
	}
	r.target, r.targetState, r.closeTarget, err = open(ctx, r.Target)
	return err
}

func (r *moveRun) openSource(ctx context.Context) (err error) {
	if err := r.At(PointTargetChecked); err != nil {
		return err
	}
	r.source, r.sourceState, r.closeSource, err = open(ctx, r.Source)
	if err != nil {
		return err
	}
	return r.At(PointSourceOpened)
}

// close stops both stores.
func (r *moveRun) close() {
	for _, stop := range []func(){r.closeSource, r.closeTarget} {
		if stop != nil {
			stop()
		}
	}
}

// prepareTarget makes the target an empty store above the revision of the source.
func (r *moveRun) prepareTarget(ctx context.Context) error {
	r.Report("Preparing the new store", "from", r.Source.Location, "to", r.Target.Location)
	revision := max(r.mark.Revision+revisionGap, r.targetState.revision)
	if err := r.reset(ctx, revision); err != nil {
		return err
	}
	if err := r.At(PointTargetRaised); err != nil {
		return err
	}
	r.record = Record{
		ID: r.mark.ID, Restore: r.sourceState.restore(), Phase: PhaseCopying,
		From: r.Source.Location, Revision: r.mark.Revision, By: r.By, Time: r.mark.Time,
	}
	if err := r.writeRecord(ctx); err != nil {
		return err
	}
	return r.At(PointRecordWritten)
}

// reset empties the target and raises its revision.
func (r *moveRun) reset(ctx context.Context, revision int64) error {
	r.closeTarget()
	r.closeTarget = nil
	backend, err := r.Target.Open()
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", r.Target.Location, err)
	}
	r.closeTarget = backend.Stop
	r.capabilities = backend.Capabilities()
	offline := r.capabilities.Reset
	if offline != nil {
		if err := offline(ctx, revision); err != nil {
			return fmt.Errorf("cannot prepare %s: %w", r.Target.Location, err)
		}
		if err := r.At(PointTargetReset); err != nil {
			return err
		}
	}
	if r.target, err = start(ctx, r.Target, backend); err != nil {
		return err
	}
	if err := r.At(PointTargetOpened); err != nil {
		return err
	}
	if offline == nil {
		if err := r.empty(ctx); err != nil {
			return err
		}
		if err := r.At(PointTargetReset); err != nil {
			return err
		}
		if err := raise(ctx, r.target, revision, r.keepMark); err != nil {
			return fmt.Errorf("cannot prepare %s: %w", r.Target.Location, err)
		}
	}
	r.targetState, err = readState(ctx, r.target)
	r.recordRevision = 0
	return err
}

// empty deletes what an interrupted or an earlier move has left in the target. The
// mark goes last: without it, a record of an earlier move would count.
func (r *moveRun) empty(ctx context.Context) error {
	if err := removeContent(ctx, r.target); err != nil {
		return err
	}
	if revision := r.targetState.recordRevision; revision > 0 {
		if err := remove(ctx, r.target, recordKey, revision); err != nil {
			return err
		}
	}
	if revision := r.targetState.markRevision; revision > 0 {
		return remove(ctx, r.target, markKey, revision)
	}
	return nil
}

// writeRecord writes the record into the target.
func (r *moveRun) writeRecord(ctx context.Context) (err error) {
	r.recordRevision, err = update(ctx, r.target, recordKey, encode(r.record), r.recordRevision)
	return err
}

// claimSource marks the source. From then on no other replica writes to it, and no
// other moves it. What is copied is the revision of the mark.
func (r *moveRun) claimSource(ctx context.Context) error {
	if err := r.At(PointSourceChecked); err != nil {
		return err
	}
	r.mark = Mark{ID: rand.Text(), Phase: PhaseMoving, To: r.Target.Location, By: r.By}
	r.markRevision = r.sourceState.markRevision
	if err := r.renewMark(ctx); err != nil {
		return err
	}
	r.mark.Revision = r.markRevision
	return r.At(PointSourceMarked)
}

// renewMark writes the mark with the time. It fails if another replica has taken the
// move over, or the source is served again.
func (r *moveRun) renewMark(ctx context.Context) error {
	r.mark.Time = r.Clock.Now().UTC().Truncate(time.Second)
	revision, err := update(ctx, r.source, markKey, encode(r.mark), r.markRevision)
	if err != nil {
		return fmt.Errorf("cannot mark %s: %w", r.Source.Location, err)
	}
	r.markRevision = revision
	return nil
}

// keepMark renews the mark if it is due. A restore has none.
func (r *moveRun) keepMark(ctx context.Context) error {
	if r.source == nil || r.Clock.Since(r.mark.Time) < renewPeriod {
		return nil
	}
	return r.renewMark(ctx)
}

// copy copies the content of the source at the revision of its mark.
func (r *moveRun) copy(ctx context.Context) error {
	source := &content{r.source, r.mark.Revision}
	leases, writes, sum := newLeaseReader(r.source), newWriter(r.target, r.capabilities), newSummer()
	pages := 0
	err := source.each(ctx, func(page []*mvccpb.KeyValue) error {
		entries := make([]storage.Entry, len(page))
		for i, kv := range page {
			sum.add(kv.Key, kv.Value, kv.Lease != 0)
			entries[i] = storage.Entry{Key: kv.Key, Value: kv.Value, TTL: leases.ttl(ctx, kv.Lease)}
		}
		if err := writes.write(ctx, entries); err != nil {
			return fmt.Errorf("cannot copy to %s: %w", r.Target.Location, err)
		}
		pages++
		if err := r.keepMark(ctx); err != nil {
			return err
		}
		r.Report("Copied keys", "keys", sum.result.Keys+sum.result.Expiring, "bytes", sum.result.Bytes)
		if pages == 1 {
			return r.At(PointFirstPage)
		}
		return r.At(PointNextPage)
	})
	if err != nil {
		return err
	}
	r.record.Digest = sum.digest()
	return r.At(PointCopied)
}
