package storage

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// TestLeaderLeavesAfterADeath scales three members down to one. One of those that leave dies without leaving, and the
// other one leads. Alone, the last one could remove neither of them.
func TestLeaderLeavesAfterADeath(t *testing.T) {
	t.Parallel()
	c := newTeam(t, "a-0", "a-1", "a-2")
	zero, client := c.start(t, "a-0", Known{})
	writeKeys(t, client, 10)
	one, _ := c.join(t, "a-1")
	two, _ := c.join(t, "a-2")
	eventually(t, func() string {
		for _, other := range []*Etcd{zero, two} {
			if other.IsLeader() {
				err := other.server.MoveLeader(t.Context(), uint64(other.server.MemberID()), uint64(one.server.MemberID()))
				return fmt.Sprintf("%s leads: %v", other.Member.Name, err)
			}
		}
		if !one.IsLeader() {
			return "nobody leads"
		}
		return ""
	})
	c.kill("a-2")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := one.Leave(ctx, func(member MemberStatus) bool { return member.Name > "a-0" }); err != nil {
		t.Errorf("Leave: %v", err)
	}
	c.kill("a-1")
	eventually(t, func() string {
		if members := zero.Members(); len(members) != 1 {
			return fmt.Sprintf("%d members are left, want one", len(members))
		}
		if _, err := client.Put(t.Context(), "/registry/after", "1"); err != nil {
			return fmt.Sprintf("Put: %v", err)
		}
		return ""
	})
}

// TestLeaderLeaves shows that the member that leads passes its role on and leaves.
func TestLeaderLeaves(t *testing.T) {
	t.Parallel()
	c := newTeam(t, "a-0", "a-1")
	zero, client := c.start(t, "a-0", Known{})
	writeKeys(t, client, 10)
	one, first := c.join(t, "a-1")
	leave(t, zero)
	eventually(t, func() string {
		if err := one.IsVoter(); err != nil {
			return err.Error()
		}
		return ""
	})
	if got := count(t, first); got != 10 {
		t.Errorf("the other member has %d keys, want 10", got)
	}
	if err := one.Leave(t.Context(), none); !errors.Is(err, errOnlyVoter) {
		t.Errorf("Leave of the last member: %v, want %v", err, errOnlyVoter)
	}
}
