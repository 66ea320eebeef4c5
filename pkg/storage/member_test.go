package storage

import (
	"context"
	"fmt"
	"net"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// released gives a store the identity of every data directory up to bc14609.
func released(e *Etcd) {
	e.Member = Member{Name: "sublet", PeerURL: "http://127.0.0.1:2380", Token: "sublet"}
}

// named gives a store the identity that the server gives it.
func named(e *Etcd) {
	e.Member = Member{Name: "team-a-0", PeerURL: "https://team-a-0.team-a-peers.tenant.svc:2380", Token: "2f8b"}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason       string
		first, later func(*Etcd)
		name, url    string
	}{
		{
			reason: "a new store has the identity from its first start, although its peer name does not resolve",
			first:  named, later: named,
			name: "team-a-0", url: "https://team-a-0.team-a-peers.tenant.svc:2380",
		},
		{
			reason: "a store of the last release opens and takes over name and peer URL",
			first:  released, later: named,
			name: "team-a-0", url: "https://team-a-0.team-a-peers.tenant.svc:2380",
		},
		{
			reason: "and the last release opens it again after a rollback",
			first:  named, later: released,
			name: "sublet", url: "http://127.0.0.1:2380",
		},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			first, client := startEtcd(t, dir, tc.first)
			if _, err := client.Put(t.Context(), "/registry/a", "1"); err != nil {
				t.Fatalf("Put: %v", err)
			}
			id := first.server.MemberID()
			first.Stop()

			second, client := startEtcd(t, dir, tc.later)
			if second.server.MemberID() != id {
				t.Errorf("the member has identifier %s, want %s as before", second.server.MemberID(), id)
			}
			got, err := client.KV.Get(t.Context(), "/registry/a")
			if err != nil || len(got.Kvs) != 1 {
				t.Errorf("got %v, %v, want the value that was written", got, err)
			}
			eventually(t, func() string {
				members := second.server.Cluster().Members()
				if len(members) == 1 && members[0].Name == tc.name && fmt.Sprint(members[0].PeerURLs) == "["+tc.url+"]" {
					return ""
				}
				return fmt.Sprintf("the members are %+v, want one, %s at %s", members, tc.name, tc.url)
			})
		})
	}
}

// withPeers makes a store reachable for other members.
func withPeers(t *testing.T, name string, join map[string]string) func(*Etcd) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return func(e *Etcd) {
		e.PeerListener = listener
		e.Member = Member{Name: name, PeerURL: "http://" + listener.Addr().String(), Token: "2f8b", Join: join}
	}
}

// addLearner announces a member to the cluster.
func addLearner(ctx context.Context, client *clientv3.Client, url string) (uint64, error) {
	added, err := client.MemberAddAsLearner(ctx, []string{url})
	if err != nil {
		return 0, err
	}
	return added.Member.ID, nil
}

// TestSecondMemberJoins shows how a second replica joins: announced as a learner,
// started, promoted when it has caught up. Its first data is a snapshot, as the
// raft log of a store in use does not reach back to its start.
func TestSecondMemberJoins(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	first, client := startEtcd(t, t.TempDir(), withPeers(t, "team-a-0", nil))
	const writes = 3 * snapshotEvery
	for i := range writes {
		if _, err := client.Put(ctx, fmt.Sprintf("/registry/%d", i), "before"); err != nil {
			t.Fatalf("Put: %v", err)
		}
	}
	var joining Etcd
	second := withPeers(t, "team-a-1", map[string]string{"team-a-0": first.Member.PeerURL})
	second(&joining)
	id, err := addLearner(ctx, client.Client, joining.Member.PeerURL)
	if err != nil {
		t.Fatalf("cannot announce the second member: %v", err)
	}
	follower, _ := startEtcd(t, t.TempDir(), second)
	eventually(t, func() string {
		if _, err := client.MemberPromote(ctx, id); err != nil {
			return fmt.Sprintf("cannot promote the second member: %v", err)
		}
		return ""
	})
	if _, err := client.Put(ctx, "/registry/after", "1"); err != nil {
		t.Fatalf("Put with two voters: %v", err)
	}
	got, err := dialled(t, follower).Get(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || got.Count != writes+1 {
		t.Errorf("the second member has %v keys, %v; want %d", got, err, writes+1)
	}
}
