package storage

import (
	"fmt"
	"testing"
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
