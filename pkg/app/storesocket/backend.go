package storesocket

import (
	"context"
	"fmt"
	"net"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sublet-dev/sublet/pkg/storage"
)

// Answers reports whether a server listens on the socket.
func Answers(ctx context.Context, path string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// Backend is the store of a running server, accessed through its socket.
type Backend struct {
	path   string
	client *kubernetes.Client
}

var _ storage.Backend = &Backend{}

// NewBackend returns the store behind the socket at path.
func NewBackend(path string) *Backend { return &Backend{path: path} }

// Start connects to the socket.
func (s *Backend) Start(ctx context.Context) (*kubernetes.Client, error) {
	client, err := kubernetes.New(clientv3.Config{
		Endpoints: []string{"http://store"}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.Dial(ctx) }),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", s.path, err)
	}
	s.client = client
	return client, nil
}

// Dial connects to the socket.
func (s *Backend) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", s.path)
}

// Failed returns a channel that is never closed.
func (s *Backend) Failed() <-chan struct{} { return nil }

// Stop closes the connection.
func (s *Backend) Stop() {
	if s.client != nil {
		_ = s.client.Close()
	}
}

// Capabilities returns none, because the server itself maintains the store.
func (s *Backend) Capabilities() storage.Capabilities { return storage.Capabilities{} }
