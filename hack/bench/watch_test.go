package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

func pod(name, version string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: version}, Status: corev1.PodStatus{Phase: phase}}
}

// fakeAPI returns one stream after the other and notes from where each began.
type fakeAPI struct {
	streams chan *watch.FakeWatcher
	from    chan string
}

func (f fakeAPI) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	f.from <- o.ResourceVersion
	stream, more := <-f.streams
	if !more {
		return nil, errors.New("connection refused")
	}
	context.AfterFunc(ctx, stream.Stop)
	return stream, nil
}

func followFake(t *testing.T, streams ...*watch.FakeWatcher) (fakeAPI, *watcher) {
	t.Helper()
	api := fakeAPI{streams: make(chan *watch.FakeWatcher, len(streams)), from: make(chan string, 9)}
	for _, stream := range streams {
		api.streams <- stream
	}
	close(api.streams)
	w, err := startWatcher(t.Context(), subject[*corev1.Pod]{
		list: func(context.Context) ([]*corev1.Pod, string, error) {
			return []*corev1.Pod{pod("old", "1", corev1.PodPending)}, "1", nil
		},
		watch: api.watch,
		name:  func(pod *corev1.Pod) string { return pod.Name },
		done:  running,
	})
	if err != nil {
		t.Fatal(err)
	}
	return api, w
}

func TestWatcherNotesFirstTimes(t *testing.T) {
	t.Parallel()
	events := watch.NewFakeWithChanSize(16, false)
	_, w := followFake(t, events)
	events.Add(pod("a", "2", corev1.PodPending))
	events.Modify(pod("a", "3", corev1.PodRunning))
	if err := w.wait(t.Context(), 1, "pods are Running", isDone); err != nil {
		t.Fatal(err)
	}
	if _, there := w.all()["old"]; !there {
		t.Error("what was there before the watch began is not seen")
	}
	first := w.all()["a"]
	if first.there.After(first.done) || !first.gone.IsZero() {
		t.Errorf("a was seen %v, Running %v, gone %v: want this order and not gone", first.there, first.done, first.gone)
	}

	events.Modify(pod("a", "4", corev1.PodRunning))
	events.Delete(pod("a", "5", corev1.PodRunning))
	if err := w.wait(t.Context(), 1, "pods are gone", isGone); err != nil {
		t.Fatal(err)
	}
	later := w.all()["a"]
	if !later.done.Equal(first.done) || !later.there.Equal(first.there) {
		t.Errorf("a later event moved a time: %+v, then %+v", first, later)
	}
	if last := w.latest(goneAt); !last.Equal(later.gone) {
		t.Errorf("last = %v, want %v", last, later.gone)
	}
}

func TestWatcherResumes(t *testing.T) {
	t.Parallel()
	one, two := watch.NewFakeWithChanSize(1, false), watch.NewFakeWithChanSize(1, false)
	api, w := followFake(t, one, two)
	one.Add(pod("a", "7", corev1.PodPending))
	one.Stop()
	two.Modify(pod("a", "8", corev1.PodRunning))
	if err := w.wait(t.Context(), 1, "pods are Running", isDone); err != nil {
		t.Fatal(err)
	}
	if first, second := <-api.from, <-api.from; first != "1" || second != "7" {
		t.Errorf("the watches began at %s and %s, want 1, of the list, and 7, of the last event", first, second)
	}
}

func TestWatcherGivesUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason string
		do     func(*watch.FakeWatcher, context.CancelFunc)
		want   string
	}{
		{"the time is over", func(_ *watch.FakeWatcher, cancel context.CancelFunc) { cancel() }, "0 of 1 pods are Running"},
		{"nobody answers any more", func(events *watch.FakeWatcher, _ context.CancelFunc) { events.Stop() }, "connection refused"},
		{"the watch brings an error", func(events *watch.FakeWatcher, _ context.CancelFunc) {
			events.Error(&metav1.Status{Message: "too old"})
		}, "too old"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			events := watch.NewFakeWithChanSize(1, false)
			_, w := followFake(t, events)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c.do(events, cancel)
			if err := w.wait(ctx, 1, "pods are Running", isDone); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("wait = %v, want %q in it", err, c.want)
			}
		})
	}
}
