package await

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// TestChanges ends a watch after its first event. The next one starts there.
func TestChanges(t *testing.T) {
	t.Parallel()
	next := map[string]string{"1": "2", "2": "3"}
	changes := Changes(t, "1", func(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
		events := watch.NewFakeWithChanSize(1, false)
		if version := next[options.ResourceVersion]; version != "" {
			events.Add(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version}})
		}
		events.Stop()
		return events, nil
	})
	for _, want := range []string{"2", "3"} {
		if got := (<-changes).Object.(*corev1.Pod).ResourceVersion; got != want {
			t.Errorf("version %s, want %s", got, want)
		}
	}
}
