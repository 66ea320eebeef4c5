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
	defer run.closeStores()
	return run.move(ctx)
}

// moveRun is one attempt to move a store. A restore is one too, of which only the target exists.
type moveRun struct {
	Mover

	source, target *openStore // nil until they are open
	// record is the one that the run writes into the target, and mark the one in the source.
	record Record
	mark   Mark
}

// openStore is a store that a run has started.
type openStore struct {
	client       *clientv3.Client
	capabilities storage.Capabilities
	stop         func()
	// state is what was read when the store started. A run updates the revisions of the
	// keys that it writes.
	state *state
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
		r.record = *r.target.state.record
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
func open(ctx context.Context, store Store) (*openStore, error) {
	backend, err := store.Open()
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", store.Location, err)
	}
	return start(ctx, store, backend)
}

// start starts the backend of a store and reads its state. It stops the backend if that fails.
func start(ctx context.Context, store Store, backend storage.Backend) (*openStore, error) {
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	client, err := backend.Start(opening)
	if err != nil {
		backend.Stop()
		return nil, fmt.Errorf("cannot open %s: %w", store.Location, err)
	}
	s, err := readState(ctx, client.Client)
	if err != nil {
		backend.Stop()
		return nil, fmt.Errorf("cannot open %s: %w", store.Location, err)
	}
	return &openStore{client: client.Client, capabilities: backend.Capabilities(), stop: backend.Stop, state: s}, nil
}

func (r *moveRun) openTarget(ctx context.Context) (err error) {
	if err := r.At(PointStarted); err != nil {
		return err
	}
	r.target, err = open(ctx, r.Target)
	return err
}

func (r *moveRun) openSource(ctx context.Context) (err error) {
	if err := r.At(PointTargetChecked); err != nil {
		return err
	}
	if r.source, err = open(ctx, r.Source); err != nil {
		return err
	}
	return r.At(PointSourceOpened)
}

// closeStores stops both stores.
func (r *moveRun) closeStores() {
	for _, opened := range []*openStore{r.source, r.target} {
		if opened != nil {
			opened.stop()
		}
	}
}

// prepareTarget makes the target an empty store above the revision of the source.
func (r *moveRun) prepareTarget(ctx context.Context) error {
	r.Report("Preparing the new store", "from", r.Source.Location, "to", r.Target.Location)
	revision := max(r.mark.Revision+revisionGap, r.target.state.revision)
	if err := r.reset(ctx, revision); err != nil {
		return err
	}
	if err := r.At(PointTargetRaised); err != nil {
		return err
	}
	r.record = Record{
		ID: r.mark.ID, Restore: r.source.state.restore(), Phase: PhaseCopying,
		From: r.Source.Location, Revision: r.mark.Revision, By: r.By, Time: r.mark.Time,
	}
	if err := r.writeRecord(ctx); err != nil {
		return err
	}
	return r.At(PointRecordWritten)
}

// reset empties the target and raises its revision. A store with a reset of its own is
// reset before it starts.
func (r *moveRun) reset(ctx context.Context, revision int64) error {
	r.target.stop()
	r.target = nil
	backend, err := r.Target.Open()
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", r.Target.Location, err)
	}
	offline := backend.Capabilities().Reset
	if offline != nil {
		if err := r.resetStopped(ctx, offline, revision); err != nil {
			backend.Stop()
			return err
		}
	}
	if r.target, err = start(ctx, r.Target, backend); err != nil {
		return err
	}
	if err := r.At(PointTargetOpened); err != nil {
		return err
	}
	if offline != nil {
		return nil
	}
	return r.resetStarted(ctx, revision)
}

// resetStopped resets the target by the function of its backend, which is not started.
func (r *moveRun) resetStopped(ctx context.Context, offline func(context.Context, int64) error, revision int64) error {
	if err := offline(ctx, revision); err != nil {
		return fmt.Errorf("cannot prepare %s: %w", r.Target.Location, err)
	}
	return r.At(PointTargetReset)
}

// resetStarted empties the target and raises its revision by writes.
func (r *moveRun) resetStarted(ctx context.Context, revision int64) (err error) {
	if err := r.empty(ctx); err != nil {
		return err
	}
	if err := r.At(PointTargetReset); err != nil {
		return err
	}
	if err := raise(ctx, r.target.client, revision, r.keepMark); err != nil {
		return fmt.Errorf("cannot prepare %s: %w", r.Target.Location, err)
	}
	r.target.state, err = readState(ctx, r.target.client)
	return err
}

// empty deletes what an interrupted or an earlier move has left in the target. The
// mark goes last: without it, a record of an earlier move would count.
func (r *moveRun) empty(ctx context.Context) error {
	if err := removeContent(ctx, r.target.client); err != nil {
		return err
	}
	if revision := r.target.state.recordRevision; revision > 0 {
		if err := deleteAtRevision(ctx, r.target.client, recordKey, revision); err != nil {
			return err
		}
	}
	if revision := r.target.state.markRevision; revision > 0 {
		return deleteAtRevision(ctx, r.target.client, markKey, revision)
	}
	return nil
}

// writeRecord writes the record into the target.
func (r *moveRun) writeRecord(ctx context.Context) (err error) {
	state := r.target.state
	state.recordRevision, err = update(ctx, r.target.client, recordKey, encode(r.record), state.recordRevision)
	return err
}

// claimSource marks the source. From then on no other replica writes to it, and no
// other moves it. What is copied is the revision of the mark.
func (r *moveRun) claimSource(ctx context.Context) error {
	if err := r.At(PointSourceChecked); err != nil {
		return err
	}
	r.mark = Mark{ID: rand.Text(), Phase: PhaseMoving, To: r.Target.Location, By: r.By}
	if err := r.renewMark(ctx); err != nil {
		return err
	}
	r.mark.Revision = r.source.state.markRevision
	return r.At(PointSourceMarked)
}

// renewMark writes the mark with the time. It fails if another replica has taken the
// move over, or the source is served again.
func (r *moveRun) renewMark(ctx context.Context) error {
	r.mark.Time = r.Clock.Now().UTC().Truncate(time.Second)
	state := r.source.state
	revision, err := update(ctx, r.source.client, markKey, encode(r.mark), state.markRevision)
	if err != nil {
		return fmt.Errorf("cannot mark %s: %w", r.Source.Location, err)
	}
	state.markRevision = revision
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
	source := &content{r.source.client, r.mark.Revision}
	leases, writes, sum := newLeaseReader(r.source.client), newWriter(r.target.client, r.target.capabilities), newSummer()
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
