package storage

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
)

// TestManyWatchesEnd ends many watches at once while others write. The watches that stay
// must get their events: those of upstream's in-memory client got no more.
func TestManyWatchesEnd(t *testing.T) {
	t.Parallel()
	_, client := startEtcd(t, t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	events := make(chan string, 1000)
	var running sync.WaitGroup
	running.Go(func() {
		for response := range client.Watch(ctx, "/round/", clientv3.WithPrefix()) {
			for _, event := range response.Events {
				events <- string(event.Kv.Key)
			}
		}
	})
	for writer := range 4 {
		running.Go(func() { writeUntil(ctx, client, "/busy/"+strconv.Itoa(writer)) })
	}
	for round := range 20 {
		endWatches(ctx, client, 40, &running)
		key := fmt.Sprintf("/round/%d", round)
		if _, err := client.Put(ctx, key, ""); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string {
			select {
			case got := <-events:
				if got == key {
					return ""
				}
				return "got " + got
			default:
				return "no event of " + key
			}
		})
	}
	stop()
	running.Wait()
}

// writeUntil writes to a key until the context ends.
func writeUntil(ctx context.Context, client *kubernetes.Client, key string) {
	for ctx.Err() == nil {
		_, _ = client.Put(ctx, key, "")
	}
}

// endWatches opens watches and ends all of them at once.
func endWatches(ctx context.Context, client *kubernetes.Client, count int, running *sync.WaitGroup) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	for range count {
		watch := client.Watch(ctx, "/busy/", clientv3.WithPrefix(), clientv3.WithPrevKV())
		running.Go(func() {
			for response := range watch {
				_ = response
			}
		})
	}
}

// heldServer reads no request before it is released, and then all of them.
type heldServer struct {
	etcdserverpb.UnimplementedWatchServer
	release chan struct{}
	got     []int64
	closed  chan struct{}
}

// Watch implements etcdserverpb.WatchServer.
func (s *heldServer) Watch(stream etcdserverpb.Watch_WatchServer) error {
	defer close(s.closed)
	<-s.release
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil
		}
		s.got = append(s.got, request.GetCancelRequest().WatchId)
	}
}

func TestQueueOfRequests(t *testing.T) {
	t.Parallel()
	server := &heldServer{release: make(chan struct{}), closed: make(chan struct{})}
	stream, err := queueingClient{adapter.WatchServerToWatchClient(server)}.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want []int64
	for id := range int64(100) {
		request := &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CancelRequest{
			CancelRequest: &etcdserverpb.WatchCancelRequest{WatchId: id},
		}}
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	close(server.release)
	<-server.closed
	if diff := cmp.Diff(want, server.got); diff != "" {
		t.Errorf("requests in order: -want, +got:\n%s", diff)
	}
	<-stream.Context().Done()
	if err := stream.Send(&etcdserverpb.WatchRequest{}); err == nil {
		t.Error("a stream that has ended takes requests")
	}
}
