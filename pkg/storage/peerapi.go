package storage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
)

// Paths of what members ask each other, in addition to etcd's own.
const (
	pathMembership = "/sublet/membership"
	pathJoin       = "/sublet/join"
	pathTurn       = "/sublet/turn"
)

const (
	// peerTimeout bounds a question to another member that needs no write.
	peerTimeout = 2 * time.Second
	// joinTimeout bounds the changes of the membership that let one member join.
	joinTimeout = 15 * time.Second
	// turnDuration is how long one member may defragment before another gets its turn.
	turnDuration = 2 * time.Minute
	// maxPeerAnswer bounds the answers of other members, in bytes.
	maxPeerAnswer = 1 << 20
)

// membershipAnswer is what one member knows about another.
type membershipAnswer struct {
	// Cluster is the identifier of the store, in hexadecimal.
	Cluster string `json:"cluster"`
	// Removed is true if the member was removed, for good.
	Removed bool `json:"removed"`
	// Member is true if it is a member as far as this one knows.
	Member bool `json:"member"`
}

// joinRequest asks to become a member.
type joinRequest struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// joinAnswer lists the members that the new one joins, name -> peer URL.
type joinAnswer struct {
	Members map[string]string `json:"members"`
}

// discardLog returns a log for failed handshakes, which anybody can cause.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// handlePeers serves the questions of other members.
func (e *Etcd) handlePeers(mux *http.ServeMux) {
	mux.HandleFunc("GET "+pathMembership, e.serveMembership)
	mux.HandleFunc("POST "+pathJoin, e.serveJoin)
	mux.HandleFunc("POST "+pathTurn, e.serveTurn)
	mux.HandleFunc("DELETE "+pathTurn, e.serveTurn)
	mux.HandleFunc("GET "+pathPresence, e.servePresence)
	mux.HandleFunc("GET "+pathEnded, e.serveEnded)
}

// serveMembership answers whether a member was removed.
func (e *Etcd) serveMembership(w http.ResponseWriter, r *http.Request) {
	id, err := types.IDFromString(r.URL.Query().Get("id"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, membershipAnswer{
		Cluster: e.server.Cluster().ID().String(),
		Removed: e.server.IsIDRemoved(uint64(id)),
		Member:  e.server.Cluster().Member(id) != nil,
	})
}

// serveJoin adds a member as a learner. It first removes members with the same name or
// peer URL, which are its earlier lives. Their data is lost, and raft must not take the new
// one for them.
func (e *Etcd) serveJoin(w http.ResponseWriter, r *http.Request) {
	var request joinRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, maxPeerAnswer)).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !isFrom(r, request.Name) {
		http.Error(w, "the certificate is not that of member "+request.Name, http.StatusForbidden)
		return
	}
	if e.Admit != nil {
		if err := e.Admit(request.Name); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), joinTimeout)
	defer cancel()
	e.joins.Lock()
	defer e.joins.Unlock()
	members, err := e.addLearner(ctx, request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, joinAnswer{members})
}

// addLearner replaces the earlier lives of a member by a new learner. It returns all
// members, name -> peer URL.
func (e *Etcd) addLearner(ctx context.Context, request joinRequest) (map[string]string, error) {
	urls, err := types.NewURLs([]string{request.URL})
	if err != nil {
		return nil, fmt.Errorf("cannot use peer URL %q: %w", request.URL, err)
	}
	if err := e.server.LinearizableReadNotify(ctx); err != nil {
		return nil, fmt.Errorf("cannot read the members: %w", err)
	}
	if err := e.removeEarlier(ctx, request); err != nil {
		return nil, err
	}
	now := e.Clock.Now()
	members, err := e.server.AddMember(ctx, *membership.NewMemberAsLearner("", urls, "", &now))
	if err != nil {
		return nil, fmt.Errorf("cannot add member %s: %w", request.Name, err)
	}
	named := map[string]string{}
	for _, member := range members {
		name := member.Name
		if slices.Contains(member.PeerURLs, request.URL) {
			name = request.Name
		}
		if name == "" {
			name = member.ID.String()
		}
		named[name] = strings.Join(member.PeerURLs, ",")
	}
	return named, nil
}

// removeEarlier removes the earlier lives of a member that joins. It refuses while another
// one joins.
func (e *Etcd) removeEarlier(ctx context.Context, request joinRequest) error {
	earlier := func(member *membership.Member) bool {
		return member.Name == request.Name || slices.Contains(member.PeerURLs, request.URL)
	}
	// etcd would refuse a second learner too, but only once the request is in its log. A
	// member that reads such a log calls the refused one for ever.
	for _, member := range e.server.Cluster().Members() {
		if member.IsLearner && !earlier(member) {
			return fmt.Errorf("cannot add member %s: member %s joins, and only one can at a time", request.Name, cmp.Or(member.Name, member.ID.String()))
		}
	}
	for _, member := range e.server.Cluster().Members() {
		if !earlier(member) {
			continue
		}
		if member.ID == e.server.MemberID() {
			return fmt.Errorf("cannot replace member %s by another one of its name", request.Name)
		}
		if _, err := e.server.RemoveMember(ctx, uint64(member.ID)); err != nil {
			return fmt.Errorf("cannot remove the earlier member %s: %w", request.Name, err)
		}
	}
	return nil
}

// turns let one member at a time defragment. The leader manages them.
type turns struct {
	mu     sync.Mutex
	holder string
	until  time.Time
}

// acquire starts the turn of a member. It returns false if another member has its turn.
func (t *turns) acquire(member string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder != "" && t.holder != member && now.Before(t.until) {
		return false
	}
	t.holder, t.until = member, now.Add(turnDuration)
	return true
}

// release ends the turn of the member.
func (t *turns) release(member string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder == member {
		t.holder = ""
	}
}

// serveTurn starts and ends turns to defragment.
func (e *Etcd) serveTurn(w http.ResponseWriter, r *http.Request) {
	member := r.URL.Query().Get("id")
	switch {
	case r.Method == http.MethodDelete:
		e.turns.release(member)
	case e.server.Leader() != e.server.MemberID():
		http.Error(w, "this member is not the leader", http.StatusConflict)
	case !e.turns.acquire(member, e.Clock.Now()):
		http.Error(w, "another member defragments", http.StatusConflict)
	}
}

// writeJSON answers a request.
func writeJSON(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	encoded, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(encoded)
}

// peerCaller asks other members.
type peerCaller struct{ client *http.Client }

// call sends a request to the member at a peer URL. answer may be nil.
func (c *peerCaller) call(ctx context.Context, method, peer, path string, query url.Values, body, answer any) error {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("cannot encode the request: %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, peer+path+"?"+query.Encode(), content)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", peer, err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", peer, errors.Unwrap(err))
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxPeerAnswer))
	if err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", peer, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", peer, strconv.Itoa(response.StatusCode), strings.TrimSpace(string(data)))
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", peer, err)
	}
	return nil
}

// membership asks the member at a peer URL about another.
func (c *peerCaller) membership(ctx context.Context, peer string, id types.ID) (membershipAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	var answer membershipAnswer
	err := c.call(ctx, http.MethodGet, peer, pathMembership, url.Values{"id": {id.String()}}, nil, &answer)
	return answer, err
}

// join asks the member at a peer URL to add this one.
func (c *peerCaller) join(ctx context.Context, peer string, request joinRequest) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	var answer joinAnswer
	err := c.call(ctx, http.MethodPost, peer, pathJoin, nil, request, &answer)
	return answer.Members, err
}
