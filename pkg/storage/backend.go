// Package storage keeps what the virtual API server stores.
//
// A [Backend] is one etcd-compatible key-value store. The control plane asks it
// for a single client, through which every resource is read, written and
// watched, and for a dialer, for the few places in the Kubernetes libraries
// that insist on a gRPC connection of their own.
//
// [Embedded] runs an etcd server inside the process: no listener, no socket, no
// second container. Reads and writes are function calls into the server, which
// costs about half the CPU of the same request over gRPC. A store that lives
// outside the process implements the same interface with an ordinary client.
package storage

import (
	"context"
	"net"

	"go.etcd.io/etcd/client/v3/kubernetes"
)

// A Backend is a key-value store that speaks etcd's v3 protocol.
//
// Start is called once, before anything else; Stop once, after everything that
// uses the store has stopped.
type Backend interface {
	// Start opens the store and returns once it answers. The context bounds
	// the start only.
	Start(ctx context.Context) error

	// Client returns the client that the whole control plane shares. It is
	// valid from the end of Start until Stop.
	Client() *kubernetes.Client

	// Dial opens one more connection to the store, for libraries that bring
	// their own gRPC client.
	Dial(ctx context.Context) (net.Conn, error)

	// Failed is closed when the store has stopped without being asked to.
	Failed() <-chan struct{}

	// Stop flushes and closes the store. It is safe after a failed Start.
	Stop()
}
