package storage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/raft/v3/raftpb"
)

const (
	defaultName    = "sublet"
	defaultToken   = "sublet"
	defaultPeerURL = "http://127.0.0.1:2380"

	// electRetry is the time between two attempts of a member to elect itself.
	electRetry = 2 * time.Millisecond
)

// Member is the identity of an etcd member. Name and Token are written into a
// new data directory and stay as they are there. An existing directory keeps
// its identifiers and takes over a new name and peer URL.
type Member struct {
	// Name is unique among the members. The pod's name. Default "sublet".
	Name string

	// PeerURL is where other members reach this one, by a DNS name that is
	// stable. Default: a loopback address on which nobody listens.
	PeerURL string

	// Token keeps members of different clusters apart. The UID of the anchor.
	// Default "sublet".
	Token string

	// join lists the members that exist already, name -> peer URL. The new
	// member has been added to them as a learner. Empty means a new cluster.
	join map[string]string
}

// withDefaults returns the member with its defaults filled in.
func (m Member) withDefaults() Member {
	if m.Name == "" {
		m.Name = defaultName
	}
	if m.PeerURL == "" {
		m.PeerURL = defaultPeerURL
	}
	if m.Token == "" {
		m.Token = defaultToken
	}
	return m
}

// urls returns the member's own peer URLs, and those of all members by name.
func (m Member) urls() (types.URLs, types.URLsMap, error) {
	own, err := types.NewURLs([]string{m.PeerURL})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use peer URL %q of member %s: %w", m.PeerURL, m.Name, err)
	}
	all := types.URLsMap{m.Name: own}
	for name, url := range m.join {
		urls, err := types.NewURLs([]string{url})
		if err != nil {
			return nil, nil, fmt.Errorf("cannot use peer URL %q of member %s: %w", url, name, err)
		}
		all[name] = urls
	}
	return own, all, nil
}

// elect makes the only member of a new store its leader, without waiting for raft's election timeout. It
// sends the request with which a leader normally transfers its leadership.
func (e *Etcd) elect(ctx context.Context) {
	retry := time.NewTicker(electRetry)
	defer retry.Stop()
	for e.server.Leader() == 0 {
		if err := e.requestElection(ctx); err != nil {
			return // Start reports why the member does not get ready.
		}
		select {
		case <-ctx.Done():
			return
		case <-e.server.StopNotify():
			return
		case <-retry.C:
		}
	}
}

// electAtRestart makes a member that is the only voter elect itself. It must be called before the server
// runs. Raft searches the entries that are not applied for pending changes of the membership. In a
// running server, a snapshot may have removed some of these entries, and raft would panic. If there
// is a pending change, raft ignores the request and waits for its election timeout.
func (e *Etcd) electAtRestart(ctx context.Context) {
	voters := 0
	for _, member := range e.server.Cluster().Members() {
		if !member.IsLearner {
			voters++
		}
	}
	own := e.server.Cluster().Member(e.server.MemberID())
	if voters == 1 && own != nil && !own.IsLearner {
		_ = e.requestElection(ctx) // The clock of raft does it later.
	}
}

// requestElection asks raft to elect this member now.
func (e *Etcd) requestElection(ctx context.Context) error {
	id := uint64(e.server.MemberID())
	return e.server.Process(ctx, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &id, To: &id})
}

// updatePeerURL changes the peer URL that the cluster has for this member. A data
// directory of an earlier release has another one.
func (e *Etcd) updatePeerURL(ctx context.Context) error {
	url := e.Member.withDefaults().PeerURL
	own := e.server.Cluster().Member(e.server.MemberID())
	if own == nil || own.IsLearner || slices.Equal(own.PeerURLs, []string{url}) {
		return nil
	}
	_, err := e.server.UpdateMember(ctx, membership.Member{
		ID:             own.ID,
		RaftAttributes: membership.RaftAttributes{PeerURLs: []string{url}, IsLearner: own.IsLearner},
	})
	return err
}
