package main

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// waitTimeout is how long a measurement may last before the benchmark gives up.
const waitTimeout = 2 * time.Minute

// sighting is when a watch has first seen what.
type sighting struct{ there, done, gone time.Time }

// watcher records when the events of a watch arrive. Its [subject] defines the name of an object,
// and when it is done.
type watcher struct {
	mu      sync.Mutex
	seen    map[string]sighting
	changed chan struct{}
	err     error
}

// subject is what a watcher is about. T is a pointer to an object.
type subject[T metav1.Object] struct {
	list  func(context.Context) (objects []T, resourceVersion string, err error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
	name  func(T) string
	done  func(T) bool
}

// startWatcher watches until the end of ctx, beginning with what is there. Like any
// other client it resumes where it was when the API server ends its watch, which
// it does when many events come at once.
func startWatcher[T metav1.Object](ctx context.Context, s subject[T]) (*watcher, error) {
	objects, version, err := s.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot list what is to be watched: %w", err)
	}
	w := &watcher{seen: map[string]sighting{}, changed: make(chan struct{})}
	for _, object := range objects {
		w.record(s.name(object), time.Now(), watch.Added, s.done(object))
	}
	stream, err := s.watch(ctx, metav1.ListOptions{ResourceVersion: version})
	if err != nil {
		return nil, fmt.Errorf("cannot watch: %w", err)
	}
	go func() {
		for err == nil && ctx.Err() == nil {
			if version, err = s.drain(stream, version, w); err == nil {
				stream, err = s.watch(ctx, metav1.ListOptions{ResourceVersion: version})
			}
		}
		if ctx.Err() == nil {
			w.fail(fmt.Errorf("the watch has ended: %w", err))
		}
	}()
	return w, nil
}

// drain notes all events of one stream and returns the version to resume from.
func (s subject[T]) drain(stream watch.Interface, version string, w *watcher) (string, error) {
	defer stream.Stop()
	for event := range stream.ResultChan() {
		now := time.Now()
		object, ok := event.Object.(T)
		if !ok {
			return version, apierrors.FromObject(event.Object)
		}
		version = object.GetResourceVersion()
		w.record(s.name(object), now, event.Type, s.done(object))
	}
	return version, nil
}

func (w *watcher) record(name string, now time.Time, event watch.EventType, done bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.seen[name]
	if s.there.IsZero() {
		s.there = now
	}
	if done && s.done.IsZero() {
		s.done = now
	}
	if event == watch.Deleted {
		s.gone = now
	}
	w.seen[name] = s
	w.wakeWaiters()
}

func (w *watcher) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	w.wakeWaiters()
}

// wakeWaiters wakes all who wait. The caller holds the lock.
func (w *watcher) wakeWaiters() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// wait waits until is returns true for n objects.
func (w *watcher) wait(ctx context.Context, n int, what string, is func(sighting) bool) error {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	for {
		count, changed, err := w.count(is)
		if count >= n {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d %s: %w", count, n, what, context.Cause(ctx))
		}
	}
}

func (w *watcher) count(is func(sighting) bool) (int, <-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	count := 0
	for _, s := range w.seen {
		if is(s) {
			count++
		}
	}
	return count, w.changed, w.err
}

// all returns a copy of what was seen.
func (w *watcher) all() map[string]sighting {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.seen)
}

// latest returns the latest of one time of all sightings.
func (w *watcher) latest(when func(sighting) time.Time) time.Time {
	var last time.Time
	for _, s := range w.all() {
		if t := when(s); t.After(last) {
			last = t
		}
	}
	return last
}

func isDone(s sighting) bool { return !s.done.IsZero() }
func isGone(s sighting) bool { return !s.gone.IsZero() }

func thereAt(s sighting) time.Time { return s.there }
func doneAt(s sighting) time.Time  { return s.done }
func goneAt(s sighting) time.Time  { return s.gone }
