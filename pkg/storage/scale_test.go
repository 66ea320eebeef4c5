package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

// count returns how many keys a member has, read from its own copy.
func count(t *testing.T, client *kubernetes.Client) int64 {
	t.Helper()
	return read(t, client, "/registry/", clientv3.WithPrefix(), clientv3.WithCountOnly()).Count
}

// read reads keys. An election on a busy machine may take longer than etcd waits.
func read(t *testing.T, client *kubernetes.Client, key string, options ...clientv3.OpOption) *clientv3.GetResponse {
	t.Helper()
	var got *clientv3.GetResponse
	eventually(t, func() string {
		var err error
		if got, err = client.KV.Get(t.Context(), key, options...); err != nil {
			return fmt.Sprintf("Get: %v", err)
		}
		return ""
	})
	return got
}

// writeKeys writes n keys.
func writeKeys(t *testing.T, client *kubernetes.Client, n int) {
	t.Helper()
	for i := range n {
		putKey := func() string { // Members of a busy machine may elect another leader.
			if _, err := client.Put(t.Context(), fmt.Sprintf("/registry/%d", i), "before"); err != nil {
				return fmt.Sprintf("Put: %v", err)
			}
			return ""
		}
		if putKey() != "" {
			eventually(t, putKey)
		}
	}
}

// leave lets a member leave and stops it.
func leave(t *testing.T, e *Etcd) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := e.Leave(ctx, none); err != nil {
		t.Fatalf("Leave: %v", err)
	}
	e.Stop()
}

// writerGap is how long a write may wait while members join or leave, on a busy machine.
const writerGap = time.Minute

// TestOneThreeOne shows that a lone member admits others without a restart, and lets one of
// them lead. They leave again at the same time, and a writer notices nothing.
func TestOneThreeOne(t *testing.T) {
	t.Parallel()
	c := newTeam(t, "a-0", "a-1", "a-2")
	zero, client := c.start(t, "a-0", Known{}, func(e *Etcd) { e.Lone = true })
	const before = 3 * snapshotEvery
	writeKeys(t, client, before)
	w := startWriter(t, func() []*kubernetes.Client { return []*kubernetes.Client{client} })

	one, first := c.join(t, "a-1")
	two, second := c.join(t, "a-2")
	for name, member := range map[string]*kubernetes.Client{"a-1": first, "a-2": second} {
		if got := count(t, member); got < before {
			t.Errorf("%s has %d keys, want at least %d", name, got, before)
		}
	}
	eventually(t, func() string {
		if err := zero.YieldLead(); err != nil || zero.IsLeader() || zero.HasLeader() != nil {
			return fmt.Sprintf("the lone member still leads: %v", err)
		}
		return ""
	})
	left := make(chan error, 2)
	for _, member := range []*Etcd{one, two} {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := member.Leave(ctx, none)
			member.Stop()
			left <- err
		}()
	}
	if err := errors.Join(<-left, <-left); err != nil {
		t.Errorf("Leave: %v", err)
	}
	w.check(t, client)
	eventually(t, func() string {
		if members := c.alive["a-0"].Members(); len(members) != 1 {
			return fmt.Sprintf("members after scaling down: %+v, want one", members)
		}
		return ""
	})
	if w.gap > writerGap {
		t.Errorf("the writer waited for %s, want at most %s", w.gap, writerGap)
	}
}

// none reports that no member is in excess.
func none(MemberStatus) bool { return false }

// TestComesBack shows how a member starts again, by what its volume has.
func TestComesBack(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason string
		// between changes the volume, or the membership, while the member is down.
		between func(t *testing.T, c *team, zero *Etcd)
		known   func(c *team) Known
		newID   bool
	}{
		{
			reason: "a listed member goes on with its volume",
			known:  func(c *team) Known { return Known{MustJoin: true, Others: c.others("a-2")} },
		},
		{
			reason: "a member that is not listed yet goes on, as the others know it",
			known:  func(c *team) Known { return Known{MustJoin: true, Unlisted: true, Others: c.others("a-2")} },
		},
		{
			reason:  "a member whose volume is lost joins as a new one",
			between: func(t *testing.T, c *team, _ *Etcd) { t.Helper(); c.dirs["a-2"] = t.TempDir() },
			known:   func(c *team) Known { return Known{MustJoin: true, Others: c.others("a-2")} },
			newID:   true,
		},
		{
			reason: "a member that was removed while it was down joins as a new one",
			between: func(t *testing.T, c *team, zero *Etcd) {
				t.Helper()
				eventually(t, func() string {
					// etcd never answers a change that was lost with its leader. One without an answer may have happened.
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					if err := zero.RemoveMember(ctx, c.urls["a-2"]); err != nil && !errors.Is(err, errNoSuchMember) {
						return err.Error()
					}
					return ""
				})
			},
			known: func(c *team) Known { return Known{MustJoin: true, Others: c.others("a-2")} },
			newID: true,
		},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			c := newTeam(t, "a-0", "a-1", "a-2")
			zero, client := c.start(t, "a-0", Known{})
			writeKeys(t, client, 300)
			c.join(t, "a-1")
			two, _ := c.join(t, "a-2")
			id := two.server.MemberID()
			c.kill("a-2")
			writeKeys(t, client, 20) // two of three accept writes
			if tc.between != nil {
				tc.between(t, c, zero)
			}
			again, second := c.start(t, "a-2", tc.known(c))
			eventually(t, func() string {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				err := again.IsVoter()
				if err != nil {
					_ = again.Promote(ctx)
					return err.Error()
				}
				return ""
			})
			if isNew := again.server.MemberID() != id; isNew != tc.newID {
				t.Errorf("the member has identifier %s after %s, want another one: %t", again.server.MemberID(), id, tc.newID)
			}
			if got := count(t, second); got != 300 {
				t.Errorf("the member has %d keys, want 300", got)
			}
			eventually(t, func() string { // The first member may be behind the others.
				if members := zero.Members(); len(members) != 3 {
					return fmt.Sprintf("members: %+v, want three", members)
				}
				return ""
			})
		})
	}
}

// TestEmptyFirstMember shows that an empty volume of the first pod joins the others
// and never becomes a second store.
func TestEmptyFirstMember(t *testing.T) {
	t.Parallel()
	c := newTeam(t, "a-0", "a-1", "a-2")
	_, client := c.start(t, "a-0", Known{})
	writeKeys(t, client, 10)
	c.join(t, "a-1")
	c.join(t, "a-2")
	c.kill("a-0")
	c.dirs["a-0"] = t.TempDir()
	_, again := c.join(t, "a-0")
	if got := count(t, again); got != 10 {
		t.Errorf("the first member has %d keys, want the 10 of the others", got)
	}
}

// TestLostMajority shows that a member without majority waits and reports it. The
// operator's decision makes it the only one. Once the others have joined again, it can be lost.
func TestLostMajority(t *testing.T) {
	t.Parallel()
	c := newTeam(t, "a-0", "a-1", "a-2")
	_, client := c.start(t, "a-0", Known{})
	writeKeys(t, client, 300)
	c.join(t, "a-1")
	c.join(t, "a-2")
	for _, name := range []string{"a-0", "a-1", "a-2"} {
		c.kill(name)
	}

	var reason atomic.Pointer[string]
	alone := c.member(t, "a-0", Known{MustJoin: true, Others: c.others("a-0")})
	alone.OnWait = func(said string) { reason.Store(&said) }
	t.Cleanup(alone.Stop)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := alone.Start(ctx)
		failed <- err
	}()
	eventually(t, func() string {
		if said := reason.Load(); said == nil || !strings.Contains(*said, "no majority: of 3 members, a-1 and a-2 do not answer") {
			return "the member does not say that it has no majority: " + *cmp.Or(said, new(string))
		}
		return ""
	})
	cancel()
	if err := <-failed; err == nil {
		t.Error("a member without majority has started")
	}
	alone.Stop()

	forced, again := c.restart(t, "a-0", func(e *Etcd) { e.ForceNew = true })
	if got := count(t, again); got != 300 {
		t.Errorf("the only member has %d keys, want 300", got)
	}
	eventually(t, func() string {
		if members := forced.Members(); len(members) != 1 {
			return fmt.Sprintf("members: %+v, want one", members)
		}
		return ""
	})
	// The others come back with the old store, and are not listed any more.
	_, first := c.join(t, "a-1")
	if got := count(t, first); got != 300 {
		t.Errorf("the member that came back has %d keys, want 300", got)
	}
	// With a vote of each, the two that came back need no other.
	c.join(t, "a-2")
	c.kill("a-0")
	eventually(t, func() string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := first.Put(ctx, "/registry/without", "x"); err != nil {
			return fmt.Sprintf("Put without the first member: %v", err)
		}
		return ""
	})
}

// TestPartition shows that a member that nobody reaches accepts no write, while the
// others do. It has everything when it is back.
func TestPartition(t *testing.T) {
	t.Parallel()
	c := newTeam(t, "a-0", "a-1", "a-2")
	zero, client := c.start(t, "a-0", Known{})
	writeKeys(t, client, 10)
	one, first := c.join(t, "a-1")
	two, _ := c.join(t, "a-2")
	mend := cut(t, zero, one, two)
	eventually(t, func() string {
		if one.server.Leader() == zero.server.MemberID() || one.server.Leader() == 0 {
			return "the others have no new leader"
		}
		return ""
	})
	eventually(t, func() string { // On a busy machine they may elect another one.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := first.Put(ctx, "/registry/meanwhile", "x"); err != nil {
			return fmt.Sprintf("Put with a majority: %v", err)
		}
		return ""
	})
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := client.Put(short, "/registry/lonely", "x"); err == nil {
		t.Error("a member without majority has accepted a write")
	}
	mend()
	eventually(t, func() string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, err := client.KV.Get(ctx, "/registry/meanwhile")
		if err != nil || len(got.Kvs) != 1 {
			return fmt.Sprintf("the member is behind: %v", err)
		}
		return ""
	})
}

// TestStrangers shows that a certificate of another authority opens nothing, and that
// a member cannot join under another name.
func TestStrangers(t *testing.T) {
	t.Parallel()
	c := newTeam(t, "a-0", "a-1")
	c.start(t, "a-0", Known{})
	for _, tc := range []struct {
		reason string
		tls    *PeerTLS
		want   string
	}{
		{"an authority that tenants could have signs for no member", newTeam(t).tls(t, "a-1"), ""},
		{"a member joins under its own name only", c.tls(t, "a-2"), "not that of member a-1"},
	} {
		stranger := Embedded(t.TempDir())
		stranger.PeerTLS = tc.tls
		if tc.want == "" {
			stranger.PeerTLS.Authority = c.tls(t, "a-1").Authority // It trusts the members; they do not.
		}
		if err := stranger.preparePeers(); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string { // A busy member may answer too late.
			_, err := stranger.caller.join(t.Context(), c.urls["a-0"], joinRequest{Name: "a-1", URL: c.urls["a-1"]})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				return fmt.Sprintf("%s: %v", tc.reason, err)
			}
			return ""
		})
	}
	if members := c.alive["a-0"].Members(); len(members) != 1 {
		t.Errorf("members: %+v, want one", members)
	}
}

// TestDefragmentOneAtATime shows that the leader passes its role on before it
// defragments, and that no two members do so at the same time.
func TestDefragmentOneAtATime(t *testing.T) {
	t.Parallel()
	c := newTeam(t, "a-0", "a-1", "a-2")
	zero, client := c.start(t, "a-0", Known{})
	writeKeys(t, client, 10)
	one, _ := c.join(t, "a-1")
	c.join(t, "a-2")
	var end func()
	// On a busy machine the leader may need a second attempt to pass its role on, and there may
	// be an election in between.
	eventually(t, func() string {
		var err error
		if end, err = zero.takeTurn(t.Context()); err != nil {
			return "the first turn: " + err.Error()
		}
		leader := zero.server.Leader()
		if leader == zero.server.MemberID() {
			end()
			return "the member that defragments still leads"
		}
		if err := one.defragment(t.Context()); err == nil && zero.server.Leader() == leader {
			t.Error("a second member has defragmented at the same time")
		}
		return ""
	})
	end()
	eventually(t, func() string {
		if err := one.defragment(t.Context()); err != nil {
			return err.Error()
		}
		return ""
	})
}
