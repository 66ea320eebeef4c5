package consistency

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

func TestCheckWatches(t *testing.T) {
	t.Parallel()
	newAdded := func(name string, version int) watch.Event {
		return watch.Event{Type: watch.Added, Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: name, ResourceVersion: strconv.Itoa(version),
		}}}
	}
	for _, c := range []struct {
		reason string
		events []watch.Event
		want   string // part of the error, empty if the events are good
	}{
		{"all elements in their order", []watch.Event{newAdded("a", 11), newAdded("b", 12)}, ""},
		{"one that was not answered may come", []watch.Event{newAdded("a", 11), newAdded("maybe", 12), newAdded("b", 13)}, ""},
		{"a lost event", []watch.Event{newAdded("a", 11)}, "missed 1 acknowledged elements, as b"},
		{"an event twice", []watch.Event{newAdded("a", 11), newAdded("b", 12), newAdded("a", 13)}, "sent element a twice"},
		{"events out of order", []watch.Event{newAdded("b", 12), newAdded("a", 11)}, "of version 11 after version 12"},
		{"an event from before the list", []watch.Event{newAdded("a", 10), newAdded("b", 12)}, "of version 10 after version 10"},
		{"a change of what never changes", []watch.Event{newAdded("a", 11), newAdded("b", 12), {Type: watch.Deleted, Object: &corev1.ConfigMap{}}}, "sent DELETED"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			w := NewWatches("set", Options{Clients: 1})
			w.clients[0].version = 10
			for _, event := range c.events {
				w.record(w.clients[0], event)
			}
			err := w.Check(&Set{elements: []element{{name: "a"}, {name: "b"}, {name: "maybe", outcome: unknown}}})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
