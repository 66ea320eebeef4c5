package consistency

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
)

// Options are what all workloads share.
type Options struct {
	// Pick returns the client for each request.
	Pick Pick
	// Namespace has the objects of the workload. It exists. Default: default.
	Namespace string
	// Clients is the number of clients, each with one request at a time. Default 5.
	Clients int
	// Pause is the time between two requests of a client. Default 20 ms.
	Pause time.Duration
	// Timeout is how long a client waits for an answer. Default 3 s.
	Timeout time.Duration
	// Seed determines what the clients do. The moments of it are not repeatable.
	Seed uint64
}

func (o Options) withDefaults() Options {
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	if o.Clients == 0 {
		o.Clients = 5
	}
	if o.Pause == 0 {
		o.Pause = 20 * time.Millisecond
	}
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	return o
}

// run runs step for each client, again and again, until ctx ends. A request that is on
// the way then is not cut short.
func (o Options) run(ctx context.Context, step func(ctx context.Context, client int, random *rand.Rand)) {
	var clients sync.WaitGroup
	for client := range o.Clients {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(o.Seed, uint64(client))) //nolint:gosec // It is to be repeatable.
			ticker := time.NewTicker(o.Pause)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
					step(context.WithoutCancel(ctx), client, random)
				}
			}
		})
	}
	clients.Wait()
}

// retry sends a request until it is answered without an error, or ctx ends.
func (o Options) retry(ctx context.Context, send func(context.Context, kubernetes.Interface) error) error {
	for {
		err := request(ctx, o.Pick, o.Timeout, send)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last error: %w", context.Cause(ctx), err)
		case <-time.After(o.Pause):
		}
	}
}
