package storage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
)

// pipeBuffer is the size of the in-memory connections of an rpcPipe, in bytes.
const pipeBuffer = 32 << 10

// rpcPipe is a gRPC server in memory. It starts with the first connection.
type rpcPipe struct {
	once    sync.Once
	server  *grpc.Server
	pipe    *bufconn.Listener
	serving sync.WaitGroup
}

// dial opens a connection. register adds the services before the server starts.
func (p *rpcPipe) dial(ctx context.Context, register func(*grpc.Server)) (net.Conn, error) {
	p.once.Do(func() {
		p.pipe = bufconn.Listen(pipeBuffer)
		p.server = grpc.NewServer()
		register(p.server)
		p.serving.Go(func() { _ = p.server.Serve(p.pipe) })
	})
	if p.pipe == nil {
		return nil, errors.New("cannot dial the store: it has stopped")
	}
	conn, err := p.pipe.DialContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot dial the store: %w", err)
	}
	return conn, nil
}

// stop stops the server. From here on nobody may start it.
func (p *rpcPipe) stop() {
	p.once.Do(func() {})
	if p.server != nil {
		p.server.Stop()
	}
	p.serving.Wait()
}
