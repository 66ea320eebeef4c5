package storage

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/k3s-io/kine/pkg/logstructured"
	"github.com/k3s-io/kine/pkg/logstructured/sqllog"
	"github.com/k3s-io/kine/pkg/server"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"
)

const (
	// keyTimeout bounds requests for one key, and rangeTimeout those for many.
	keyTimeout   = 10 * time.Second
	rangeTimeout = time.Minute
)

// errDatabaseAway is the error for users of the store while the database does not answer. Only operators
// see the cause, which has names of hosts and users.
var errDatabaseAway = status.Error(codes.Unavailable, "the database of the virtual cluster does not respond")

// errInvalid is the error for users of the store whose request the database can never take.
var errInvalid = status.Error(codes.InvalidArgument, "the database of the virtual cluster cannot take the name or the content of the object: "+
	"it is too long or has characters that the database does not support")

// errIncomplete is returned if rows of a result are missing.
var errIncomplete = errors.New("the answer of the database is incomplete")

// kineLog limits the requests of kine to the database, and detects their errors. kine itself treats a list
// that was truncated by a broken connection as complete.
type kineLog struct {
	*sqllog.SQLLog
	slots  chan struct{}
	health *databaseHealth
	// isInvalid reports whether an error is due to the content of the request. nil means that none is.
	isInvalid func(error) bool
}

var _ logstructured.Log = &kineLog{}

// enter waits for a slot. The caller calls leave at the end.
func (l *kineLog) enter(ctx context.Context, timeout time.Duration) (bounded context.Context, leave func(), err error) {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	select {
	case l.slots <- struct{}{}:
		return bounded, func() { <-l.slots; cancel() }, nil
	case <-bounded.Done():
		cancel()
		return nil, nil, l.translate(ctx, context.Cause(bounded))
	}
}

// translate returns the error for users of the store, and records one of the database.
// Errors of the protocol, such as a compacted revision, stay as they are.
func (l *kineLog) translate(ctx context.Context, err error) error {
	if err == nil {
		l.health.record(nil)
		return nil
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	for _, known := range []error{server.ErrKeyExists, server.ErrCompacted, server.ErrFutureRev} {
		if errors.Is(err, known) {
			l.health.record(nil)
			return known
		}
	}
	if l.isInvalid != nil && l.isInvalid(err) {
		l.health.record(nil)
		return errInvalid
	}
	if l.health.record(err) {
		klog.InfoS("The database does not respond", "reason", l.health.reason())
	}
	return errDatabaseAway
}

// List returns a key or a range.
func (l *kineLog) List(ctx context.Context, key, end string, limit, revision int64, includeDeletes, keysOnly bool) (server.EventBatch, error) {
	if end != "" || key == "" {
		return l.listRange(ctx, key, end, limit, revision, includeDeletes, keysOnly)
	}
	bounded, leave, err := l.enter(ctx, keyTimeout)
	if err != nil {
		return server.EventBatch{}, err
	}
	defer leave()
	batch, err := l.SQLLog.List(bounded, key, end, limit, revision, includeDeletes, keysOnly)
	return batch, l.translate(ctx, err)
}

// listRange returns a range. Unlike kine's own function it fails if rows are missing.
func (l *kineLog) listRange(ctx context.Context, key, end string, limit, revision int64, includeDeletes, keysOnly bool,
) (server.EventBatch, error) {
	bounded, leave, err := l.enter(ctx, rangeTimeout)
	if err != nil {
		return server.EventBatch{}, err
	}
	defer leave()
	read := new(*sql.Rows)
	batch, err := l.SQLLog.List(context.WithValue(bounded, rowsKey{}, read), key, end, limit, revision, includeDeletes, keysOnly)
	if err == nil && *read != nil {
		err = (*read).Err()
	}
	if err := l.translate(ctx, err); err != nil {
		return server.EventBatch{}, err
	}
	return batch, nil
}

// ListStream sends a range. kine's own function reads the current revision while its
// goroutine writes it.
func (l *kineLog) ListStream(ctx context.Context, key, end string, limit, revision int64, includeDeletes, keysOnly bool) server.ListResult {
	batch, err := l.listRange(ctx, key, end, limit, revision, includeDeletes, keysOnly)
	kvs, errs := make(chan *server.KeyValue, len(batch.Events)), make(chan error, 1)
	for _, event := range batch.Events {
		kvs <- event.KV
	}
	if err != nil {
		errs <- err
	}
	close(kvs)
	close(errs)
	return server.ListResult{CurrentRevision: batch.CurrentRev, KVc: kvs, Errorc: errs}
}

// Count returns the number of keys in a range.
func (l *kineLog) Count(ctx context.Context, key, end string, revision int64) (current, count int64, err error) {
	bounded, leave, err := l.enter(ctx, rangeTimeout)
	if err != nil {
		return 0, 0, err
	}
	defer leave()
	current, count, err = l.SQLLog.Count(bounded, key, end, revision)
	return current, count, l.translate(ctx, err)
}

// After returns the events after a revision. It fails if the last one is missing: the
// database returns the current revision with each row.
func (l *kineLog) After(ctx context.Context, key, end string, revision, limit int64) (server.EventBatch, error) {
	bounded, leave, err := l.enter(ctx, rangeTimeout)
	if err != nil {
		return server.EventBatch{}, err
	}
	defer leave()
	batch, err := l.SQLLog.After(bounded, key, end, revision, limit)
	if err == nil && key == "" && limit == 0 && isCutShort(batch, revision) {
		err = errIncomplete
	}
	if err := l.translate(ctx, err); err != nil {
		return server.EventBatch{CurrentRev: batch.CurrentRev}, err
	}
	return batch, nil
}

// isCutShort reports whether events between a revision and the current one are missing.
func isCutShort(batch server.EventBatch, revision int64) bool {
	if len(batch.Events) == 0 {
		return batch.CurrentRev > revision
	}
	return batch.Events[len(batch.Events)-1].KV.ModRevision != batch.CurrentRev
}

// Append writes an event, and also stores the error in the context. After an error, kine reads the current
// value and returns success if there is none.
func (l *kineLog) Append(ctx context.Context, event *server.Event) (int64, error) {
	bounded, leave, err := l.enter(ctx, keyTimeout)
	if err != nil {
		return 0, recordOutcome(ctx, err)
	}
	defer leave()
	revision, err := l.SQLLog.Append(bounded, event)
	if err := l.translate(ctx, err); err != nil {
		if !errors.Is(err, server.ErrKeyExists) {
			_ = recordOutcome(ctx, err)
		}
		return 0, err
	}
	return revision, nil
}

// CompactRevision returns the last revision that is compacted.
func (l *kineLog) CompactRevision(ctx context.Context) (int64, error) {
	bounded, leave, err := l.enter(ctx, keyTimeout)
	if err != nil {
		return 0, err
	}
	defer leave()
	revision, err := l.SQLLog.CompactRevision(bounded)
	return revision, l.translate(ctx, err)
}

// outcomeKey is the context key of the outcome of a write.
type outcomeKey struct{}

// recordOutcome stores the error of a write in the context of [withOutcome], and returns it.
func recordOutcome(ctx context.Context, err error) error {
	if outcome, ok := ctx.Value(outcomeKey{}).(*error); ok {
		*outcome = err
	}
	return err
}

// withOutcome returns a context in which [recordOutcome] stores the error of a write.
func withOutcome(ctx context.Context) (context.Context, *error) {
	outcome := new(error)
	return context.WithValue(ctx, outcomeKey{}, outcome), outcome
}
