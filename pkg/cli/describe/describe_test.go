package describe

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestLastSeen(t *testing.T) {
	t.Parallel()
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	created := metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(at(1))}
	for name, test := range map[string]struct {
		event corev1.Event
		want  int
	}{
		"Core":   {corev1.Event{ObjectMeta: created, LastTimestamp: metav1.NewTime(at(4))}, 4},
		"Once":   {corev1.Event{ObjectMeta: created, EventTime: metav1.NewMicroTime(at(2))}, 2},
		"Series": {corev1.Event{ObjectMeta: created, EventTime: metav1.NewMicroTime(at(2)), Series: &corev1.EventSeries{LastObservedTime: metav1.NewMicroTime(at(7))}}, 7},
		"None":   {corev1.Event{ObjectMeta: created}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := lastSeen(&test.event); !got.Equal(at(test.want)) {
				t.Errorf("got %s, want %s", got, at(test.want))
			}
		})
	}
}
