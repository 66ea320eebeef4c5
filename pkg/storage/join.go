package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/pkg/v3/pbutil"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

const (
	// joinRetry is the time between two attempts to join.
	joinRetry = 500 * time.Millisecond
	// leaderPatience is how long a start waits for a leader before it reports the wait.
	leaderPatience = 5 * time.Second
	// nameRetry is the time between two checks whether a member has its name in the store.
	nameRetry = 100 * time.Millisecond
)

// NoMajority is the start of the reason why a start waits for a majority of the members.
const NoMajority = "the store has no majority"

var errOtherStore = errors.New("the volume has another store than the other members")

// Known is the record of the store outside of its volume. The zero value means that the member may create a
// store and knows no other members.
type Known struct {
	// MustJoin is true if an empty volume must not become a new store, because the store exists
	// or another member creates it.
	MustJoin bool
	// Unlisted is true if the record of the members lacks this one. Its volume may then be a
	// leftover of an earlier membership.
	Unlisted bool
	// Others are the other members, and those that may become one,
	// name -> peer URL.
	Others map[string]string
}

// prepareMember decides how the member starts: as a new store, as the member on the volume, or as a new
// member of an existing store. It waits for the others without a limit. It returns whether the store
// is new.
func (e *Etcd) prepareMember(ctx context.Context, logger *zap.Logger, walDir string) (isNew bool, err error) {
	hasLog := wal.Exist(walDir)
	if !hasLog && !e.Known.MustJoin {
		return true, nil
	}
	if hasLog && (e.ForceNew || len(e.Known.Others) == 0) {
		return false, nil
	}
	for {
		reason := e.tryMember(ctx, logger, walDir, hasLog)
		if reason == nil {
			e.reportWait("")
			return false, nil
		}
		e.reportWait(fmt.Sprintf("the store has other members, and none of them lets %s join yet: %v", e.Member.Name, reason))
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("cannot join the members of the store: %w", errors.Join(context.Cause(ctx), reason))
		case <-e.Clock.After(joinRetry):
		}
	}
}

// tryMember keeps the member on the volume, or joins as a new one.
func (e *Etcd) tryMember(ctx context.Context, logger *zap.Logger, walDir string, hasLog bool) error {
	if hasLog {
		if keep, err := e.mayKeep(ctx, logger, walDir); keep || err != nil {
			return err
		}
	}
	return e.join(ctx)
}

// reportWait reports why the start waits, or with an empty reason that it does not.
func (e *Etcd) reportWait(reason string) {
	if e.OnWait != nil {
		e.OnWait(reason)
	}
}

// mayKeep asks the other members whether the member on the volume still belongs to the store. Without an
// answer, a listed member keeps its volume, because it may be the first one to start.
func (e *Etcd) mayKeep(ctx context.Context, logger *zap.Logger, walDir string) (keep bool, reason error) {
	id, cluster, err := readMember(logger, walDir)
	if err != nil {
		return false, err
	}
	answers, err := e.askOthers(ctx, id)
	e.reached = len(answers) > 0
	isMember := false
	for _, answer := range answers {
		switch {
		case answer.Cluster != cluster.String():
			return false, errOtherStore
		case answer.Removed:
			return false, nil
		case answer.Member:
			isMember = true
		}
	}
	if isMember || !e.Known.Unlisted {
		return true, nil
	}
	if len(answers) > 0 {
		return false, nil
	}
	return false, err
}

// askOthers asks all others about a member at the same time. The error has those that
// do not answer.
func (e *Etcd) askOthers(ctx context.Context, id types.ID) ([]membershipAnswer, error) {
	var (
		mu      sync.Mutex
		asking  sync.WaitGroup
		answers []membershipAnswer
		errs    = map[string]error{}
	)
	for name, peer := range e.Known.Others {
		asking.Go(func() {
			answer, err := e.caller.membership(ctx, peer, id)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs[name] = err
				return
			}
			answers = append(answers, answer)
		})
	}
	asking.Wait()
	var silent []error
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		silent = append(silent, fmt.Errorf("%s does not answer: %w", name, errs[name]))
	}
	return answers, errors.Join(silent...)
}

// readMember returns the identifiers that the raft log has of its member and of the
// store.
func readMember(logger *zap.Logger, walDir string) (member, cluster types.ID, err error) {
	snapshots, err := wal.ValidSnapshotEntries(logger, walDir)
	if err != nil || len(snapshots) == 0 {
		return 0, 0, fmt.Errorf("cannot read the raft log: %w", cmp.Or(err, wal.ErrSnapshotNotFound))
	}
	log, err := wal.OpenForRead(logger, walDir, snapshots[len(snapshots)-1])
	if err != nil {
		return 0, 0, fmt.Errorf("cannot open the raft log: %w", err)
	}
	defer func() { _ = log.Close() }()
	content, _, _, err := log.ReadAll()
	if content == nil && err != nil {
		return 0, 0, fmt.Errorf("cannot read the raft log: %w", err)
	}
	var metadata etcdserverpb.Metadata
	pbutil.MustUnmarshalMessage(&metadata, content)
	return types.ID(metadata.GetNodeID()), types.ID(metadata.GetClusterID()), nil
}

// join asks the other members, one after another, to add this one as a learner. Once one has agreed, it
// deletes the content of the volume.
func (e *Etcd) join(ctx context.Context) error {
	request := joinRequest{Name: e.Member.Name, URL: e.Member.PeerURL}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(e.Known.Others)) {
		members, err := e.caller.join(ctx, e.Known.Others[name], request)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		if err := os.RemoveAll(e.serverDir()); err != nil {
			return fmt.Errorf("cannot delete the store of an earlier member: %w", err)
		}
		e.Member.join = members
		return nil
	}
	if len(errs) == 0 {
		return errors.New("no other member is known")
	}
	return errors.Join(errs...)
}

// needsJoin reports whether the server has to fetch the members from the others.
func needsJoin(cfg config.ServerConfig) bool { return !cfg.NewCluster && !wal.Exist(cfg.WALDir()) }

// awaitReady waits until the member has a leader. It reports which members are missing
// if that takes long.
func (e *Etcd) awaitReady(ctx context.Context) error {
	patience := time.NewTimer(leaderPatience)
	defer patience.Stop()
	named := e.watchName(ctx)
	for {
		select {
		case <-e.server.ReadyNotify():
			e.reportWait("")
			return nil
		case <-named:
			e.reportWait("")
			return nil
		case <-e.server.StopNotify():
			return fmt.Errorf("cannot start the database in %s: it stopped", e.Dir)
		case <-ctx.Done():
			return fmt.Errorf("cannot start the database in %s: %w", e.Dir, context.Cause(ctx))
		case <-patience.C:
			e.reportWait(e.explainNoLeader(ctx))
			if err := e.review(ctx); err != nil {
				return err
			}
			patience.Reset(leaderPatience)
		}
	}
}

// watchName returns a channel that closes when a member among others has its name in the store.
// At each start, etcd writes the name and waits until it has applied that entry. The message to the
// leader may be lost, or the entry may be part of a snapshot that the member gets. Then etcd waits
// in vain, and tries again after 7 s.
func (e *Etcd) watchName(ctx context.Context) <-chan struct{} {
	named := make(chan struct{})
	if len(e.Member.join) == 0 && len(e.Known.Others) == 0 {
		return named
	}
	go func() {
		retry := time.NewTicker(nameRetry)
		defer retry.Stop()
		for !e.hasName(ctx) {
			select {
			case <-ctx.Done():
				return
			case <-e.server.ReadyNotify():
				return
			case <-e.server.StopNotify():
				return
			case <-retry.C:
			}
		}
		close(named)
	}()
	return named
}

// hasName reports whether the store has the name of this member. Before the first read
// that all members agree on, the server only knows the name from its configuration.
func (e *Etcd) hasName(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	if e.server.LinearizableReadNotify(ctx) != nil {
		return false
	}
	own := e.server.Cluster().Member(e.server.MemberID())
	return own != nil && own.Name == e.Member.Name
}

// explainNoLeader returns which members are missing for a majority.
func (e *Etcd) explainNoLeader(ctx context.Context) string {
	voters, answering := 1, 1
	var silent []string
	for _, member := range e.members() {
		if member.Learner || member.Self {
			continue
		}
		voters++
		if _, err := e.caller.membership(ctx, member.URL, e.server.MemberID()); err != nil {
			silent = append(silent, member.Name)
			continue
		}
		answering++
	}
	slices.Sort(silent)
	if answering > voters/2 {
		return "the members of the store are electing a leader"
	}
	return fmt.Sprintf("%s: of %d members, %s do not answer", NoMajority, voters, strings.Join(silent, " and "))
}

// review returns why a start without a leader must end, nil if it may continue to wait.
func (e *Etcd) review(ctx context.Context) error {
	if e.Review == nil {
		return nil
	}
	return e.Review(ctx)
}

// HasMember reports whether the data directory has a member of a store.
func (e *Etcd) HasMember() bool { return wal.Exist(layout{e.serverDir()}.walDir()) }
