package storage

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// noElections makes a member wait so long for a silent leader that no test sees the end.
func noElections(e *Etcd) { e.electionTimeout, e.successionPause = time.Hour, 5*time.Second }

// newThree starts three members without elections by raft's clock. The first one leads.
func newThree(t *testing.T) (c *team, zero, one, two *Etcd) {
	t.Helper()
	c = newTeam(t, "a-0", "a-1", "a-2")
	zero, _ = c.start(t, "a-0", Known{}, noElections)
	one, _ = c.join(t, "a-1", noElections)
	two, _ = c.join(t, "a-2", noElections, throughFirst)
	t.Cleanup(func() {
		for _, name := range []string{"a-0", "a-1", "a-2"} {
			if c.alive[name] != nil {
				c.kill(name) // A stop passes leadership on, for as long as an election may take.
			}
		}
	})
	return c, zero, one, two
}

// awaitWrite waits until a member has another leader than the given one and accepts a write.
func awaitWrite(t *testing.T, e *Etcd, before *Etcd) {
	t.Helper()
	eventually(t, func() string {
		if leader := e.server.Leader(); leader == 0 || leader == before.server.MemberID() {
			return "there is no new leader"
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := e.client.Put(ctx, "/registry/after", "x"); err != nil {
			return fmt.Sprintf("Put: %v", err)
		}
		return ""
	})
}

// TestSuccession shows that the others elect a leader when the process of the leader has ended.
// Raft's own clock would take an hour.
func TestSuccession(t *testing.T) {
	t.Parallel()
	c, zero, one, two := newThree(t)
	c.kill("a-0")
	awaitWrite(t, one, zero)
	awaitWrite(t, two, zero)
	c.restart(t, "a-0", noElections)
	next := one
	if two.IsLeader() {
		next = two
	}
	c.kill(next.Member.Name)
	for _, name := range []string{"a-0", "a-1", "a-2"} {
		if e := c.alive[name]; e != nil {
			awaitWrite(t, e, next)
		}
	}
}

// TestSuccessionOfTheBehind shows that a member is elected although one that lacks a write
// tries first.
func TestSuccessionOfTheBehind(t *testing.T) {
	t.Parallel()
	c, zero, one, two := newThree(t)
	behind, ahead := one, two
	if two.server.MemberID() < one.server.MemberID() {
		behind, ahead = two, one
	}
	mend := cutFrom(t, zero, behind)
	if _, err := zero.client.Put(t.Context(), "/registry/written", "x"); err != nil {
		t.Fatal(err)
	}
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		c.kill("a-0") // It waits for its cut peer.
	}()
	awaitWrite(t, ahead, zero)
	mend()
	<-killed
	if !ahead.IsLeader() {
		t.Error("the member without the write leads")
	}
	if got, err := behind.client.KV.Get(t.Context(), "/registry/written"); err != nil || got.Count != 1 {
		t.Errorf("Get: %v, %v, want what was written before", got, err)
	}
}

// deafListener drops new connections while it is deaf.
type deafListener struct {
	net.Listener
	deaf atomic.Bool
}

// Accept implements [net.Listener].
func (l *deafListener) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil || !l.deaf.Load() {
			return connection, err
		}
		_ = connection.Close()
	}
}

// TestSuccessionWithoutWinner shows that a member is elected that could reach nobody while another one,
// which lacks a write, was a candidate.
func TestSuccessionWithoutWinner(t *testing.T) {
	t.Parallel()
	c := newTeam(t, "a-0", "a-1", "a-2")
	zero, _ := c.start(t, "a-0", Known{}, noElections)
	deaf := &deafListener{}
	behind, _ := c.join(t, "a-1", noElections, func(e *Etcd) { deaf.Listener, e.PeerListener = e.PeerListener, deaf })
	ahead, _ := c.join(t, "a-2", noElections, throughFirst)
	t.Cleanup(func() { c.kill("a-1"); c.kill("a-2") })
	mend := cutFrom(t, zero, behind)
	if _, err := zero.client.Put(t.Context(), "/registry/written", "x"); err != nil {
		t.Fatal(err)
	}
	deaf.deaf.Store(true)
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		c.kill("a-0") // It waits for its cut peer.
	}()
	eventually(t, func() string {
		if ahead.server.Leader() != 0 {
			return "nobody was a candidate"
		}
		return ""
	})
	deaf.deaf.Store(false)
	awaitWrite(t, ahead, zero)
	mend()
	<-killed
}

// TestNoSuccession shows that nobody is elected while the leader's process runs, and that a
// member alone decides nothing.
func TestNoSuccession(t *testing.T) {
	t.Parallel()
	_, zero, one, two := newThree(t)
	leader, term := zero.server.MemberID(), zero.server.Term()
	cut(t, zero, one, two) // It is silent, as one that is suspended.
	one.succeed(t.Context(), leader, make(chan struct{}))
	two.succeed(t.Context(), leader, make(chan struct{}))
	voters, agreed, _ := one.pollEnded(t.Context(), leader)
	if voters != 3 || agreed != 1 {
		t.Errorf("of %d voters, %d agree that the leader has ended; want 3 and 1", voters, agreed)
	}
	for _, e := range []*Etcd{zero, one, two} {
		if e.server.Leader() != leader || e.server.Term() != term {
			t.Errorf("%s: leader %s in term %d, want %s in term %d", e.Member.Name, e.server.Leader(), e.server.Term(), leader, term)
		}
	}
}

// TestPresenceOfEarlierVersion shows that a leader that does not know the request is not asked
// again.
func TestPresenceOfEarlierVersion(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	e := Embedded(t.TempDir())
	e.caller = &peerCaller{client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	if lasted, supported := e.holdPresence(t.Context(), server.URL, make(chan struct{})); lasted || supported {
		t.Errorf("lasted %t, supported %t, want neither", lasted, supported)
	}
}
