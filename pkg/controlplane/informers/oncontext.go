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

	mu       sync.Mutex
	contexts map[<-chan struct{}]context.Context // channel -> context that it ends
}

// NewOnContext returns a factory with the informers of another one.
func NewOnContext(shared clientinformers.SharedInformerFactory) *OnContext {
	return &OnContext{SharedInformerFactory: shared, contexts: map[<-chan struct{}]context.Context{}}
}

// Start implements informers.SharedInformerFactory.
func (f *OnContext) Start(stop <-chan struct{}) { f.StartWithContext(f.contextOf(stop)) }

// contextOf returns the context that ends when stop is closed.
func (f *OnContext) contextOf(stop <-chan struct{}) context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx, ok := f.contexts[stop]; ok {
		return ctx
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.contexts[stop] = ctx
	go func() {
		<-stop
		cancel()
	}()
	return ctx
}
