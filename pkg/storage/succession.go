package storage

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"k8s.io/klog/v2"
)

const (
	// pathPresence is answered as long as the process of the member runs.
	pathPresence = "/sublet/presence"
	// pathEnded is answered with whether the process of a member has ended.
	pathEnded = "/sublet/ended"

	// endedTimeout bounds the question whether a process has ended, so that its answer comes
	// before raft's own election.
	endedTimeout = 500 * time.Millisecond
	// successionPause is how long a member lets those with lower identifiers be elected first.
	successionPause = 300 * time.Millisecond
	// minPresenceRetry and maxPresenceRetry bound the time between two connections to a leader. A
	// process that ends closes its connections and its listener one after the other.
	minPresenceRetry = 20 * time.Millisecond
	maxPresenceRetry = 5 * time.Second
)

// endedAnswer is the answer of a member to the question whether a process has ended.
type endedAnswer struct {
	Ended bool `json:"ended"`
}

// watchPresence elects a new leader as soon as the process of the leader has ended, until ctx
// ends. Raft itself waits for one to two seconds, as it only knows that the leader is silent.
//
// A follower has a connection to the leader on which nothing is sent. When it ends, the follower
// connects again. Only a refused connection proves that there is no process. A leader that is
// suspended, slow or cut off refuses nothing, so it is left to raft's clock.
func (e *Etcd) watchPresence(ctx context.Context) {
	pause := minPresenceRetry
	var leader MemberStatus
	for ctx.Err() == nil {
		changed := e.server.LeaderChangedNotify()
		// A candidate that lacks a write is not elected, and leaves no leader.
		leader = e.leaderOr(leader)
		if leader.id == 0 || leader.Self {
			awaitChange(ctx, changed)
			continue
		}
		lasted, supported := e.holdPresence(ctx, leader.URL, changed)
		switch {
		case !supported:
			awaitChange(ctx, changed)
		case isClosed(changed):
		case isRefused(ctx, leader.URL):
			e.succeed(ctx, leader.id, changed)
		}
		if lasted || isClosed(changed) {
			pause = minPresenceRetry
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-e.Clock.After(pause):
			pause = min(2*pause, maxPresenceRetry)
		}
	}
}

// leaderOr returns the member that leads, or the last one if there is none.
func (e *Etcd) leaderOr(last MemberStatus) MemberStatus {
	for _, member := range e.members() {
		if member.Leader {
			return member
		}
	}
	return last
}

// awaitChange waits for another leader.
func awaitChange(ctx context.Context, changed <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-changed:
	}
}

// isClosed reports whether the channel is closed.
func isClosed(channel <-chan struct{}) bool {
	select {
	case <-channel:
		return true
	default:
		return false
	}
}

// holdPresence keeps a connection to the member at a peer URL until it breaks, or until there is
// another leader. lasted is true if the member has answered. supported is false if its version
// does not know the request.
func (e *Etcd) holdPresence(ctx context.Context, peer string, changed <-chan struct{}) (lasted, supported bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	returned := make(chan struct{})
	defer close(returned)
	go func() {
		select {
		case <-changed:
			cancel()
		case <-returned:
		}
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, peer+pathPresence, nil)
	if err != nil {
		return false, false
	}
	response, err := e.caller.client.Do(request)
	if err != nil {
		return false, true
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return false, response.StatusCode != http.StatusNotFound
	}
	_, _ = response.Body.Read(make([]byte, 1)) // Nothing is ever sent.
	return true, true
}

// servePresence answers as long as this process runs.
func (e *Etcd) servePresence(w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	<-r.Context().Done()
}

// isRefused reports whether the machine with a peer URL refuses connections, so that nobody
// listens there.
func isRefused(ctx context.Context, peer string) bool {
	parsed, err := url.Parse(peer)
	if err != nil {
		return false
	}
	dialer := net.Dialer{Timeout: endedTimeout}
	connection, err := dialer.DialContext(ctx, "tcp", parsed.Host)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	_ = connection.Close()
	return false
}

// succeed elects this member if a majority agrees that the process of the leader has ended. A
// firewall may refuse connections of one member alone. Members with lower identifiers are first.
func (e *Etcd) succeed(ctx context.Context, leader types.ID, changed <-chan struct{}) {
	voters, agreed, earlier := e.pollEnded(ctx, leader)
	if agreed <= voters/2 {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-changed:
		return
	case <-e.Clock.After(time.Duration(earlier) * cmp.Or(e.successionPause, successionPause)):
	}
	if now := e.server.Leader(); now != leader && now != 0 {
		return
	}
	klog.InfoS("The process of the store's leader has ended, electing this member", "member", e.Member.Name)
	if err := e.requestElection(ctx); err != nil {
		klog.ErrorS(err, "Cannot elect this member of the store")
		return
	}
	// If it is not elected, another one is, after its pause or by raft's clock.
	awaitChange(ctx, changed)
}

// pollEnded asks the other voters whether the process of the leader has ended. It returns the
// number of all voters, of those that agree, and of those among them before this one. This
// member counts as one that agrees.
func (e *Etcd) pollEnded(ctx context.Context, leader types.ID) (voters, agreed, earlier int) {
	ctx, cancel := context.WithTimeout(ctx, endedTimeout)
	defer cancel()
	answers := make(chan types.ID)
	asked := 0
	for _, member := range e.members() {
		if member.Learner {
			continue
		}
		voters++
		if member.Self {
			agreed++
			continue
		}
		if member.id == leader {
			continue
		}
		asked++
		go func() {
			if e.caller.agreesEnded(ctx, member.URL, leader) {
				answers <- member.id
				return
			}
			answers <- 0
		}()
	}
	for range asked {
		if id := <-answers; id != 0 {
			agreed++
			if id < e.server.MemberID() {
				earlier++
			}
		}
	}
	return voters, agreed, earlier
}

// agreesEnded asks the member at a peer URL whether the process of another has ended.
func (c *peerCaller) agreesEnded(ctx context.Context, peer string, id types.ID) bool {
	var answer endedAnswer
	err := c.call(ctx, http.MethodGet, peer, pathEnded, url.Values{"id": {id.String()}}, nil, &answer)
	return err == nil && answer.Ended
}

// serveEnded answers whether the process of a member has ended, as far as this one can tell.
func (e *Etcd) serveEnded(w http.ResponseWriter, r *http.Request) {
	id, err := types.IDFromString(r.URL.Query().Get("id"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var answer endedAnswer
	for _, member := range e.members() {
		if member.id == id && !member.Self {
			answer.Ended = isRefused(r.Context(), member.URL)
		}
	}
	writeJSON(w, answer)
}
