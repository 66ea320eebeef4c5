package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// changingKV is a server whose leader is lost.
type changingKV struct {
	etcdserverpb.KVServer
	reads int // until one succeeds
	wrote chan struct{}
}

func (k *changingKV) Range(context.Context, *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	if k.reads--; k.reads > 0 {
		return nil, rpctypes.ErrGRPCLeaderChanged
	}
	return &etcdserverpb.RangeResponse{Count: 1}, nil
}

func (k *changingKV) Txn(ctx context.Context, _ *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	k.wrote <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestLeaderLost shows what a change of the leader does to requests in this process.
func TestLeaderLost(t *testing.T) {
	t.Parallel()
	server := &changingKV{reads: 3, wrote: make(chan struct{})}
	r := &leaderTerms{}
	r.begin(t.Context(), false)
	kv := steadyKV{KVServer: server, terms: r}
	if got, err := kv.Range(t.Context(), nil); err != nil || got.Count != 1 {
		t.Errorf("Range: %v, %v, want it repeated until there is a leader", got, err)
	}
	written := make(chan error, 1)
	go func() {
		_, err := kv.Txn(t.Context(), nil)
		written <- err
	}()
	<-server.wrote
	r.begin(t.Context(), false).end()
	if err := <-written; !errors.Is(err, ErrLeaderLost) {
		t.Errorf("Txn of the term before: %v, want %v", err, ErrLeaderLost)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := kv.Txn(ctx, nil)
		written <- err
	}()
	<-server.wrote
	cancel()
	if err := <-written; !errors.Is(err, context.Canceled) {
		t.Errorf("Txn of this term that its client ends: %v, want %v", err, context.Canceled)
	}
}

// changingLeases is a server of leases whose leader is lost during the first request.
type changingLeases struct {
	etcdserverpb.LeaseServer
	terms *leaderTerms
	asked []int64 // the IDs of the requests
}

func (l *changingLeases) LeaseGrant(ctx context.Context, r *etcdserverpb.LeaseGrantRequest) (*etcdserverpb.LeaseGrantResponse, error) {
	l.asked = append(l.asked, r.ID)
	r.ID = int64(len(l.asked))
	if len(l.asked) == 1 {
		l.terms.begin(context.WithoutCancel(ctx), false).end()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &etcdserverpb.LeaseGrantResponse{ID: r.ID}, nil
}

// TestLeaseOfLostLeader shows that a lease is requested again, and that it is another one.
func TestLeaseOfLostLeader(t *testing.T) {
	t.Parallel()
	r := &leaderTerms{}
	r.begin(t.Context(), false)
	server := &changingLeases{terms: r}
	got, err := steadyLeases{LeaseServer: server, terms: r}.LeaseGrant(t.Context(), &etcdserverpb.LeaseGrantRequest{TTL: 1})
	if err != nil || got.ID != 2 || !slices.Equal(server.asked, []int64{0, 0}) {
		t.Errorf("got %v and %v for requests %v, want the second lease", got, err, server.asked)
	}
}

// TestRequestsDuringElection shows that requests without a deadline end when the others have a
// new leader. A read gets its answer. A write that the leader of before got ends with an error.
func TestRequestsDuringElection(t *testing.T) {
	t.Parallel()
	c := newTeam(t, "a-0", "a-1", "a-2")
	zero, client := c.start(t, "a-0", Known{})
	writeKeys(t, client, 1)
	one, first := c.join(t, "a-1")
	two, _ := c.join(t, "a-2")
	mend := cut(t, zero, one, two)
	written := make(chan error, 1)
	go func() {
		_, err := first.Put(t.Context(), "/registry/during", "x")
		written <- err
	}()
	eventually(t, func() string { // An election on a busy machine may take longer than etcd waits.
		if _, err := first.KV.Get(t.Context(), "/registry/0"); err != nil {
			return fmt.Sprintf("Get: %v", err)
		}
		return ""
	})
	if one.server.Leader() == zero.server.MemberID() {
		t.Error("the read was answered by the leader of before")
	}
	// A write that begins after the election waits for the leader, and succeeds.
	if err := <-written; err != nil && !errors.Is(err, ErrLeaderLost) &&
		!errors.Is(rpctypes.Error(err), rpctypes.ErrTimeout) && !errors.Is(rpctypes.Error(err), rpctypes.ErrTimeoutDueToLeaderFail) {
		t.Errorf("Put: %v, want success or %v", err, ErrLeaderLost)
	}
	mend()
}
