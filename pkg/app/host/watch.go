package host

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
)

const (
	// firstRetry and lastRetry bound the pause after a failed request, which doubles each time.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// newBackoff returns the backoff between retries of a request.
func newBackoff() wait.Backoff {
	return wait.Backoff{Duration: firstRetry, Factor: 2, Jitter: 0.1, Steps: 100, Cap: lastRetry}
}

// reader gets and watches objects of one type in one namespace, as the typed
// clients do.
type reader[T metav1.Object] interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (T, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

// singleWatch watches one object by its name. It only needs the verbs get and watch on that
// name. A client-go informer would also need list.
type singleWatch[T metav1.Object] struct {
	reader reader[T]
	name   string
	clock  clock.Clock
	// changed is called with the current object, or the zero T if it does not exist. It may be
	// called again with the same object. After an error it is.
	changed func(object T) error
	// failed is called with the error of a failed request, and with nil when a request
	// succeeds again.
	failed func(err error)
}

// run watches the object until ctx ends.
func (w *singleWatch[T]) run(ctx context.Context) {
	backoff, failing := newBackoff(), false
	for ctx.Err() == nil {
		opened := w.clock.Now()
		err := w.watchOnce(ctx, func() {
			if failing {
				w.failed(nil)
			}
			failing = false
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil { // Without an error, the API server has ended the watch after its timeout.
			failing = true
			w.failed(err)
		}
		if w.clock.Since(opened) >= lastRetry {
			backoff = newBackoff()
		}
		select {
		case <-ctx.Done():
		case <-w.clock.After(backoff.Step()):
		}
	}
}

// watchOnce opens a watch, gets the object, and then follows the watch until that ends. It calls reached once both requests
// have succeeded.
//
// The watch begins at what the API server has in its cache. A watch from the version of the object would fail: for an object
// that has not changed for a while, that version is too old. So the watch first sends the cached object, which may be older
// than the one of the get.
func (w *singleWatch[T]) watchOnce(ctx context.Context, reached func()) error {
	var none T
	watching, err := w.reader.Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, w.name).String(),
		ResourceVersion: "0",
	})
	if err != nil {
		return fmt.Errorf("cannot watch %s: %w", w.name, err)
	}
	defer watching.Stop()
	object, err := w.reader.Get(ctx, w.name, metav1.GetOptions{})
	version := ""
	switch {
	case apierrors.IsNotFound(err):
		object = none
	case err != nil:
		return fmt.Errorf("cannot get %s: %w", w.name, err)
	default:
		version = object.GetResourceVersion()
	}
	reached()
	if err := w.changed(object); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, open := <-watching.ResultChan():
			if !open {
				return nil
			}
			if err := w.handle(event, version); err != nil {
				return err
			}
		}
	}
}

// handle processes one event of the watch. It ignores what is not newer than version, which is known already.
func (w *singleWatch[T]) handle(event watch.Event, version string) error {
	var none T
	object, ok := event.Object.(T)
	if ok {
		if order, err := resourceversion.CompareResourceVersion(object.GetResourceVersion(), version); err == nil && order <= 0 {
			return nil
		}
	}
	switch event.Type {
	case watch.Error:
		return fmt.Errorf("cannot watch %s: %w", w.name, apierrors.FromObject(event.Object))
	case watch.Added, watch.Modified:
		if ok && object.GetName() == w.name {
			return w.changed(object)
		}
	case watch.Deleted:
		if ok && object.GetName() == w.name {
			return w.changed(none)
		}
	case watch.Bookmark:
	}
	return nil
}
