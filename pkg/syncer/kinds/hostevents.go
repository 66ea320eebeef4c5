package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// scheduled is the reason of the event that a scheduler records when it has bound
// a pod.
const scheduled = "Scheduled"

// byInvolved is the field of the index of host events by the kind and name of their object.
const byInvolved = "involvedObject"

// eventsByInvolved returns the index of host events by their object.
func eventsByInvolved() syncer.Index {
	return syncer.Index{Side: syncer.Host, Object: &corev1.Event{}, Field: byInvolved, Values: involvedIn}
}

func involvedIn(o client.Object) []string {
	if event, ok := o.(*corev1.Event); ok {
		return []string{event.InvolvedObject.Kind + "/" + event.InvolvedObject.Name}
	}
	return nil
}
