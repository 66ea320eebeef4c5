package storage

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"k8s.io/utils/clock"
)

const (
	// readRetry is the time between two attempts of a read that failed because of a new leader.
	readRetry = 25 * time.Millisecond
	// lateAnswers is how long a write may still wait for its answer after a new leader has
	// answered a read.
	lateAnswers = 250 * time.Millisecond
)

// ErrLeaderLost is returned for a write that was sent to a leader that is none any more. The write may
// have taken effect, or may still do so.
var ErrLeaderLost = errors.New("the store lost its leader during the write, which may have taken effect")

// steadyKV handles changes of the leader for requests of this process. It retries reads, as etcd's client
// does for a remote server. It ends writes that will not be answered, which etcd would let wait for
// seven seconds.
type steadyKV struct {
	etcdserverpb.KVServer
	terms *leaderTerms
}

// Range implements [etcdserverpb.KVServer].
func (k steadyKV) Range(ctx context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	for {
		response, err := k.KVServer.Range(ctx, r)
		if !errors.Is(rpctypes.Error(err), rpctypes.ErrLeaderChanged) {
			return response, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-clock.RealClock{}.After(readRetry):
		}
	}
}

// Put implements [etcdserverpb.KVServer].
func (k steadyKV) Put(ctx context.Context, r *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	return write(ctx, k.terms, r, k.KVServer.Put)
}

// DeleteRange implements [etcdserverpb.KVServer].
func (k steadyKV) DeleteRange(ctx context.Context, r *etcdserverpb.DeleteRangeRequest) (*etcdserverpb.DeleteRangeResponse, error) {
	return write(ctx, k.terms, r, k.KVServer.DeleteRange)
}

// Txn implements [etcdserverpb.KVServer].
func (k steadyKV) Txn(ctx context.Context, r *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	return write(ctx, k.terms, r, k.KVServer.Txn)
}

// steadyLeases does the same for leases, which events have.
type steadyLeases struct {
	etcdserverpb.LeaseServer
	terms *leaderTerms
}

// LeaseGrant implements [etcdserverpb.LeaseServer]. It repeats a request that no leader has
// answered: nobody uses the lease of before, and it expires.
func (l steadyLeases) LeaseGrant(ctx context.Context, r *etcdserverpb.LeaseGrantRequest) (*etcdserverpb.LeaseGrantResponse, error) {
	for {
		// The server enters the ID that it chooses into the request.
		answer, err := write(ctx, l.terms, &etcdserverpb.LeaseGrantRequest{TTL: r.TTL, ID: r.ID}, l.LeaseServer.LeaseGrant)
		if !errors.Is(err, ErrLeaderLost) {
			return answer, err
		}
	}
}

// write calls a function that writes. It ends with ErrLeaderLost soon after the term in which
// it began.
func write[Q, A any](ctx context.Context, terms *leaderTerms, request Q, call func(context.Context, Q) (A, error)) (A, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(terms.current.Load(), func() { cancel(ErrLeaderLost) })
	defer stop()
	answer, err := call(ctx, request)
	if err != nil && errors.Is(context.Cause(ctx), ErrLeaderLost) {
		err = ErrLeaderLost
	}
	return answer, err
}

// leaderTerms has the current leader, as this member knows it.
type leaderTerms struct{ current atomic.Pointer[leaderTerm] }

// leaderTerm is the time in which one member leads. Its context ends soon after another member leads.
type leaderTerm struct {
	context.Context //nolint:containedctx // It is a context with its end.
	end             context.CancelFunc
	own             bool // this member leads
}

// begin begins the term of this member or of another one, and returns the term before.
func (t *leaderTerms) begin(ctx context.Context, own bool) *leaderTerm {
	ctx, end := context.WithCancel(ctx)
	return t.current.Swap(&leaderTerm{ctx, end, own})
}

// watchLeaders ends unanswered writes after each change of the leader, until the store stops. It
// also runs watchPresence.
func (e *Etcd) watchLeaders(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.kept.Go(func() {
		<-e.stopped
		cancel()
	})
	if e.PeerListener != nil {
		e.kept.Go(func() { e.watchPresence(ctx) })
	}
	changed := e.server.LeaderChangedNotify()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		changed = e.server.LeaderChangedNotify()
		own := e.server.Leader() == e.server.MemberID()
		if before := e.terms.begin(context.WithoutCancel(ctx), own); !own || !before.own {
			e.endTerm(ctx, before)
		} // A member that elects itself again has all writes in its log.
	}
}

// endTerm ends the term of another leader, once everything that it has committed is applied.
func (e *Etcd) endTerm(ctx context.Context, before *leaderTerm) {
	_ = e.server.LinearizableReadNotify(ctx) // Without a majority, no answer comes either.
	select {
	case <-ctx.Done():
	case <-e.Clock.After(lateAnswers):
	}
	before.end()
}
