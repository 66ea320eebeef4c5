package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sublet-dev/sublet/pkg/storage"
)

// Keys of the move. They belong to one store and are never copied.
const (
	ownPrefix   = "/sublet/"
	identityKey = storage.IdentityKey
	recordKey   = ownPrefix + "move"
	markKey     = ownPrefix + "moved"
	raiseKey    = ownPrefix + "raise"
)

// Phase is how far a move has come.
type Phase string

// Phases of the record in the target: Copying until all is copied, Copied once it
// is verified, and Done when the target is the store. The mark in the source is
// Moving, and Moved from the moment that decides the move.
const (
	PhaseCopying Phase = "Copying"
	PhaseCopied  Phase = "Copied"
	PhaseDone    Phase = "Done"
	PhaseMoving  Phase = "Moving"
	PhaseMoved   Phase = "Moved"
)

// Record is what the target of a move has about it.
type Record struct {
	// ID names the move or the restore. The mark in the source of a move has the same.
	ID string `json:"id"`
	// Restore is the ID of the last restore that the content comes from, empty if it comes
	// from none. Moves keep it.
	Restore string `json:"restore,omitempty"`
	// Phase is Copying, Copied or Done.
	Phase Phase `json:"phase"`
	// From is the location of the source.
	From string `json:"from"`
	// Revision is the one that was copied, and Digest its content.
	Revision int64  `json:"revision,omitempty"`
	Digest   Digest `json:"digest,omitzero"`
	// By is the replica that moves, Time when it began.
	By   string    `json:"by"`
	Time time.Time `json:"time"`
}

// restorePrefix begins the ID of each restore, and of no move.
const restorePrefix = "restore"

// isOfRestore reports whether the record is that of a restore.
func (r *Record) isOfRestore() bool { return strings.HasPrefix(r.ID, restorePrefix) }

// Mark is what the source of a move has about it.
type Mark struct {
	// ID names the move.
	ID string `json:"id"`
	// Phase is Moving or Moved.
	Phase Phase `json:"phase"`
	// To is the location of the target.
	To string `json:"to"`
	// Revision is the one that is copied.
	Revision int64 `json:"revision,omitempty"`
	// By is the replica that moves, Time when it has last written the mark.
	By   string    `json:"by"`
	Time time.Time `json:"time"`
}

// isHeldByOther reports whether the mark is that of a move under way by another replica than
// the given one.
func (m *Mark) isHeldByOther(replica string, now time.Time) bool {
	// A time that is far ahead is that of a wrong clock. Whoever takes over is safe: writes are bound to revisions.
	return m != nil && m.Phase == PhaseMoving && m.By != replica && now.Sub(m.Time).Abs() < abandonedAfter
}

// state is what a store has of ours.
type state struct {
	// keys is the number of objects, at most 2.
	keys     int
	revision int64
	// cluster is the UID of the anchor that the store belongs to, empty if it
	// does not say so, and identity the whole value.
	cluster, identity string
	owner             storage.Identity
	record            *Record
	recordRevision    int64
	mark              *Mark
	markRevision      int64
}

// readState reads what a store has of ours.
func readState(ctx context.Context, client *clientv3.Client) (*state, error) {
	got, err := client.Get(ctx, contentPrefix, clientv3.WithPrefix(), clientv3.WithLimit(2), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("cannot read the store: %w", err)
	}
	s := &state{keys: len(withoutHealth(got.Kvs)), revision: got.Header.Revision}
	own, err := client.Get(ctx, ownPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("cannot read the store: %w", err)
	}
	for _, kv := range own.Kvs {
		switch string(kv.Key) {
		case identityKey:
			err = json.Unmarshal(kv.Value, &s.owner)
			s.cluster, s.identity = s.owner.Anchor, string(kv.Value)
		case recordKey:
			s.record, s.recordRevision = &Record{}, kv.ModRevision
			err = json.Unmarshal(kv.Value, s.record)
		case markKey:
			s.mark, s.markRevision = &Mark{}, kv.ModRevision
			err = json.Unmarshal(kv.Value, s.mark)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read key %s of the store: %w", kv.Key, err)
		}
	}
	return s, nil
}

// restore returns the ID of the last restore that the content comes from.
func (s *state) restore() string {
	if s.record == nil {
		return ""
	}
	return s.record.Restore
}

// isEmpty reports whether the store has nothing of anybody.
func (s *state) isEmpty() bool { return s.keys == 0 && s.record == nil && s.mark == nil }

// encode returns v as JSON.
func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // Records and marks have plain fields only.
	}
	return string(text)
}
