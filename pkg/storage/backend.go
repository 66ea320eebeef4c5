// Package storage provides the store of the virtual API server.
//
// A [Backend] is one etcd-compatible key-value store. The control plane starts it and gets one
// client, which all resources share. Few places in the Kubernetes libraries need a gRPC
// connection of their own, for which a Backend has a dialer.
//
// [Etcd] runs an etcd server inside the process: no listener, no socket, no
// second container. Reads and writes are function calls into the server, which
// costs about half the CPU of the same request over gRPC. A store outside the
// process implements the same interface with an ordinary client.
package storage

import (
	"context"
	"errors"
	"io"
	"net"

	"go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/sublet-dev/sublet/api/syncz"
)

// ErrLocked is returned by Start when another process holds the data directory.
var ErrLocked = errors.New("the data directory is in use by another process")

// A Backend is a key-value store that speaks etcd's v3 protocol.
//
// Start is called once, before anything else; Stop once, after everything that
// uses the store has stopped.
type Backend interface {
	// Start opens the store and returns once it answers. The context bounds the
	// start only. The whole control plane shares the client, which is valid
	// until Stop.
	Start(ctx context.Context) (*kubernetes.Client, error)

	// Dial opens another connection to the store, for libraries that have their own gRPC client.
	// It does the TLS handshake, if there is one: the caller uses plain gRPC on the connection.
	Dial(ctx context.Context) (net.Conn, error)

	// Failed returns a channel that is closed when the store has stopped by itself.
	Failed() <-chan struct{}

	// Stop flushes and closes the store. It is safe after a failed Start.
	Stop()

	// Capabilities returns what the store can do beyond the protocol.
	Capabilities() Capabilities
}

// Capabilities lists the optional functions of a store. A nil field means that the store does not have
// the function, so callers must check before each use. Unless noted, the functions may be called
// between Start and Stop.
type Capabilities struct {
	// Compacts is true if the store deletes old revisions by itself. Otherwise
	// the control plane has to run the API server's compactor.
	Compacts bool

	// Progress is true if watches report how far they have read. Only then can
	// the API server answer consistent lists from its caches.
	Progress bool

	// Remote is true if the store is outside of the process. A restart of the process
	// does not bring it back, so that its absence must not fail /livez.
	Remote bool

	// Snapshot writes the whole store at one revision to w.
	Snapshot func(ctx context.Context, w io.Writer) error

	// Restore replaces an empty store by a snapshot. It is called before Start.
	Restore func(ctx context.Context, r io.Reader) error

	// Reset replaces the store by an empty one at the given revision, in which all
	// earlier revisions count as compacted. It is called before Start.
	Reset func(ctx context.Context, revision int64) error

	// Load creates many keys, faster than with one request for each. Nobody else may use the
	// store in the meantime. It fails if one of the keys exists.
	Load func(ctx context.Context, entries []Entry) error

	// TxnWrites is the maximum number of writes in a transaction. 0 means that a transaction can
	// only write one key. The server of the store may have a lower limit.
	TxnWrites int

	// Defragment returns free space inside the store to its volume. Requests
	// wait meanwhile.
	Defragment func(ctx context.Context) error

	// Purge deletes remains of values that were replaced before the last compaction. Requests
	// wait in the meantime.
	Purge func(ctx context.Context) error

	// Usage returns sizes and limits. It is cheap enough to be called for every request.
	Usage func() Usage

	// Alarms returns the alarms that are set. Disarm clears one.
	Alarms func(ctx context.Context) ([]Alarm, error)
	Disarm func(ctx context.Context, alarm Alarm) error

	// Checks returns the health of the store, for /syncz. It may be called at any
	// time.
	Checks func() []syncz.Check
}

// Entry is a key that is written to a store.
type Entry struct {
	Key, Value []byte
	// TTL is the remaining lifetime in seconds. 0 means that the key does not expire.
	TTL int64
}

// Alarm is a condition that the store records and that only Disarm clears.
type Alarm string

// AlarmNoSpace is set when a write did not fit into the quota. While it is set,
// the store takes deletes only.
const AlarmNoSpace Alarm = "NOSPACE"

// Usage is the size of a store, in bytes.
type Usage struct {
	// Size is what the database occupies on its volume.
	Size int64
	// InUse is the part of Size that holds data. Old revisions are data until a
	// compaction removes them.
	InUse int64
	// Quota is the limit of InUse. The file may be larger by a quarter.
	Quota int64
}
