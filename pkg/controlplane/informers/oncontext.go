package informers

import (
	"context"
	"sync"

	clientinformers "k8s.io/client-go/informers"
)

// OnContext is a factory whose informers run on a context of the standard library, also if they are started with
// a channel. Otherwise each request of an informer would hold a goroutine that waits for the channel.
type OnContext struct {
	clientinformers.SharedInformerFactory

	mu     sync.Mutex
	starts map[<-chan struct{}]func() // channel -> what starts informers that run until it is closed
}

// NewOnContext returns a factory with the informers of another one.
func NewOnContext(shared clientinformers.SharedInformerFactory) *OnContext {
	return &OnContext{SharedInformerFactory: shared, starts: map[<-chan struct{}]func(){}}
}

// Start implements informers.SharedInformerFactory.
func (f *OnContext) Start(stop <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.starts[stop] == nil {
		f.starts[stop] = f.startUntil(stop)
	}
	f.starts[stop]()
}

// startUntil returns what starts informers that run until stop is closed.
func (f *OnContext) startUntil(stop <-chan struct{}) func() {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // The interface has a channel instead.
	go func() {
		<-stop
		cancel()
	}()
	return func() { f.StartWithContext(ctx) }
}
