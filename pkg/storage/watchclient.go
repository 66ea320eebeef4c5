package storage

import (
	"context"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"google.golang.org/grpc"
)

// newWatcher returns a watcher that calls a server in this process.
//
// All watches of a client share one stream, and upstream's in-memory stream buffers one message. The client
// reads no response while it sends a request, and the server reads no request while 16 responses
// wait. So both deadlock if some twenty watches end at the same time, and all watches of the process
// hang. Here the client never waits, because its requests are queued.
func newWatcher(server etcdserverpb.WatchServer, client *clientv3.Client) clientv3.Watcher {
	return plainWatcher{clientv3.NewWatchFromWatchClient(queueingClient{adapter.WatchServerToWatchClient(server)}, client)}
}

// plainWatcher hides the values of contexts. The watcher prints contexts to group
// watches, which would read values that others write.
type plainWatcher struct{ clientv3.Watcher }

// Watch watches a key or a range.
func (w plainWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	return w.Watcher.Watch(&plainContext{ctx}, key, opts...)
}

// plainContext is a context whose string is constant.
type plainContext struct{ context.Context } //nolint:containedctx // it is a context

// String returns the same for every context.
func (*plainContext) String() string { return "(context)" }

// queueingClient opens streams that queue requests.
type queueingClient struct{ etcdserverpb.WatchClient }

// Watch opens a stream. It ends with the context or with the server's side.
func (c queueingClient) Watch(ctx context.Context, opts ...grpc.CallOption) (etcdserverpb.Watch_WatchClient, error) {
	stream, err := c.WatchClient.Watch(ctx, opts...)
	if err != nil {
		return nil, err
	}
	q := &queueingStream{Watch_WatchClient: stream, wake: make(chan struct{}, 1)}
	go q.forward()
	return q, nil
}

// queueingStream is a stream whose Send does not wait for the server.
type queueingStream struct {
	etcdserverpb.Watch_WatchClient
	wake chan struct{} // has an element if requests or closed have changed

	mu       sync.Mutex
	requests []*etcdserverpb.WatchRequest
	closed   bool
}

// Send queues a request.
func (q *queueingStream) Send(request *etcdserverpb.WatchRequest) error {
	if err := q.Context().Err(); err != nil {
		return err
	}
	q.mu.Lock()
	q.requests = append(q.requests, request)
	q.mu.Unlock()
	q.notify()
	return nil
}

// CloseSend ends the requests once the queue is empty.
func (q *queueingStream) CloseSend() error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.notify()
	return nil
}

func (q *queueingStream) notify() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// forward passes the requests to the server until the stream ends.
func (q *queueingStream) forward() {
	for {
		requests, closed := q.take()
		for _, request := range requests {
			if q.Watch_WatchClient.Send(request) != nil {
				return // the stream has ended, which Recv returns
			}
		}
		if closed {
			_ = q.Watch_WatchClient.CloseSend()
			return
		}
		select {
		case <-q.wake:
		case <-q.Context().Done():
			return
		}
	}
}

// take empties the queue.
func (q *queueingStream) take() (requests []*etcdserverpb.WatchRequest, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	requests, q.requests = q.requests, nil
	return requests, q.closed
}
