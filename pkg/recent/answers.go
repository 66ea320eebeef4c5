// Package recent keeps what another server answered for a few seconds, for parts that answer
// tenants with numbers of the host. So tenants cannot flood that server, however often they ask.
package recent

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Answers has the recent answers of a server. Those who ask for the same at once, or within a
// while, share one answer. An answer that is an error is shared too.
type Answers[K comparable, V any] struct {
	keep  time.Duration
	clock clock.WithDelayedExecution

	mu    sync.Mutex
	byKey map[K]*answer[V]
}

// answer is an answer that is awaited until done is closed, and known from then on.
type answer[V any] struct {
	done  chan struct{}
	value V
	err   error // if ask panicked
}

// NewAnswers creates an empty set of answers. Each is kept for the given time.
func NewAnswers[K comparable, V any](keep time.Duration, c clock.WithDelayedExecution) *Answers[K, V] {
	return &Answers[K, V]{keep: keep, clock: c, byKey: map[K]*answer[V]{}}
}

// Get returns the answer for a key. It calls ask if there is no recent one. It returns an error
// if ask panics or ctx ends. Others may still wait then, so ask continues, and needs its own timeout.
func (a *Answers[K, V]) Get(ctx context.Context, key K, ask func(context.Context) V) (V, error) {
	shared := a.find(ctx, key, ask)
	select {
	case <-shared.done:
		return shared.value, shared.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// find returns the answer for a key, and requests it if there is none.
func (a *Answers[K, V]) find(ctx context.Context, key K, ask func(context.Context) V) *answer[V] {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, ok := a.byKey[key]
	if !ok {
		found = &answer[V]{done: make(chan struct{})}
		a.byKey[key] = found
		go a.request(context.WithoutCancel(ctx), key, found, ask)
	}
	return found
}

// request fills in an answer, and forgets it after a while, so that its memory is free.
func (a *Answers[K, V]) request(ctx context.Context, key K, requested *answer[V], ask func(context.Context) V) {
	requested.fill(ctx, ask)
	a.clock.AfterFunc(a.keep, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.byKey, key)
	})
	close(requested.done)
}

// fill sets the value. A panic becomes the error of this answer, as it would end the process otherwise.
func (r *answer[V]) fill(ctx context.Context, ask func(context.Context) V) {
	defer func() {
		if cause := recover(); cause != nil {
			r.err = fmt.Errorf("cannot get the answer of a server of the host: panic: %v", cause)
			klog.FromContext(ctx).Error(r.err, "Recovered from a panic", "stack", string(debug.Stack()))
		}
	}()
	r.value = ask(ctx)
}
