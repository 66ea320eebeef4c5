package main

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

func pod(name string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{Phase: phase}}
}

func followFake(t *testing.T) (*watch.FakeWatcher, *watcher) {
	t.Helper()
	events := watch.NewFakeWithChanSize(16, false)
	w, err := follow(t.Context(), subject[*corev1.Pod]{
		watch: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return events, nil },
		name:  func(pod *corev1.Pod) string { return pod.Name },
		done:  running,
	})
	if err != nil {
		t.Fatal(err)
	}
	return events, w
}

func TestWatcherNotesFirstTimes(t *testing.T) {
	t.Parallel()
	events, w := followFake(t)
	events.Add(pod("a", corev1.PodPending))
	events.Modify(pod("a", corev1.PodRunning))
	if err := w.wait(t.Context(), 1, "pods are Running", isDone); err != nil {
		t.Fatal(err)
	}
	first := w.all()["a"]
	if first.there.After(first.done) || !first.gone.IsZero() {
		t.Errorf("a was seen %v, Running %v, gone %v: want this order and not gone", first.there, first.done, first.gone)
	}

	events.Modify(pod("a", corev1.PodRunning))
	events.Delete(pod("a", corev1.PodRunning))
	if err := w.wait(t.Context(), 1, "pods are gone", isGone); err != nil {
		t.Fatal(err)
	}
	later := w.all()["a"]
	if !later.done.Equal(first.done) || !later.there.Equal(first.there) {
		t.Errorf("a later event moved a time: %+v, then %+v", first, later)
	}
	if last := w.last(goneAt); !last.Equal(later.gone) {
		t.Errorf("last = %v, want %v", last, later.gone)
	}
}

func TestWatcherGivesUp(t *testing.T) {
	t.Parallel()
	t.Run("when the time is over", func(t *testing.T) {
		t.Parallel()
		events, w := followFake(t)
		events.Add(pod("a", corev1.PodPending))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := w.wait(ctx, 1, "pods are Running", isDone); err == nil || !strings.Contains(err.Error(), "0 of 1 pods are Running") {
			t.Errorf("wait = %v, want what is missing", err)
		}
	})
	t.Run("when the watch breaks", func(t *testing.T) {
		t.Parallel()
		events, w := followFake(t)
		events.Stop()
		if err := w.wait(t.Context(), 1, "pods are Running", isDone); err == nil || !strings.Contains(err.Error(), "ended") {
			t.Errorf("wait = %v, want that the watch has ended", err)
		}
	})
	t.Run("when the watch brings an error", func(t *testing.T) {
		t.Parallel()
		events, w := followFake(t)
		events.Error(&metav1.Status{Message: "too old"})
		if err := w.wait(t.Context(), 1, "pods are Running", isDone); err == nil || !strings.Contains(err.Error(), "too old") {
			t.Errorf("wait = %v, want the error of the watch", err)
		}
	})
}
