package host

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
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
		err := w.follow(ctx, func() {
			if failing {
				w.failed(nil)
			}
			backoff, failing = newBackoff(), false
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil { // Without an error, the API server has ended the watch after its timeout.
			failing = true
			w.failed(err)
		}
		select {
		case <-ctx.Done():
		case <-w.clock.After(backoff.Step()):
		}
	}
}

// follow gets the object and then watches it until the watch ends. It calls reached once the get
// has succeeded.
func (w *singleWatch[T]) follow(ctx context.Context, reached func()) error {
	var none T
	object, err := w.reader.Get(ctx, w.name, metav1.GetOptions{})
	version := "0"
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
	watching, err := w.reader.Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, w.name).String(),
		ResourceVersion: version,
	})
	if err != nil {
		return fmt.Errorf("cannot watch %s: %w", w.name, err)
	}
	defer watching.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, open := <-watching.ResultChan():
			if !open {
				return nil
			}
			if err := w.handle(event); err != nil {
				return err
			}
		}
	}
}

// handle processes one event of the watch.
func (w *singleWatch[T]) handle(event watch.Event) error {
	var none T
	object, ok := event.Object.(T)
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
