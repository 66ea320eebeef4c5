package storage

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

const (
	defaultName    = "sublet"
	defaultToken   = "sublet"
	defaultPeerURL = "http://127.0.0.1:2380"

	// peerHeaderTimeout bounds how long a peer may take to send a request's
	// headers.
	peerHeaderTimeout = 10 * time.Second

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

	// Join lists the members that exist already, name -> peer URL. The new
	// member has been added to them as a learner. Default: a new cluster.
	Join map[string]string
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
	for name, url := range m.Join {
		urls, err := types.NewURLs([]string{url})
		if err != nil {
			return nil, nil, fmt.Errorf("cannot use peer URL %q of member %s: %w", url, name, err)
		}
		all[name] = urls
	}
	return own, all, nil
}

// elect makes the member of a new store its own leader, which would otherwise wait
// for some ticks. A leader passes its role on with the same request.
//
// A store with a log must not be asked. Raft looks for pending changes of the
// membership among entries that it does not know to be applied. While a long log is
// applied, a snapshot removes some of them, and raft panics.
func (e *Etcd) elect(ctx context.Context) {
	id := uint64(e.server.MemberID())
	request := &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &id, To: &id}
	retry := time.NewTicker(electRetry)
	defer retry.Stop()
	for e.server.Leader() == 0 {
		if err := e.server.Process(ctx, request); err != nil {
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

// peerServer serves raft to other members.
type peerServer struct {
	server *http.Server
	done   chan struct{}
}

// servePeers serves raft on the listener until stop is called.
func servePeers(listener net.Listener, logger *zap.Logger, server *etcdserver.EtcdServer) *peerServer {
	p := &peerServer{
		server: &http.Server{Handler: etcdhttp.NewPeerHandler(logger, server), ReadHeaderTimeout: peerHeaderTimeout},
		done:   make(chan struct{}),
	}
	go func() {
		defer close(p.done)
		_ = p.server.Serve(listener)
	}()
	return p
}

// stop closes the listener and all connections.
func (p *peerServer) stop() {
	if p == nil {
		return
	}
	_ = p.server.Close()
	<-p.done
}
