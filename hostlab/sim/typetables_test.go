package sim

import (
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/utils/lifecycle"
)

// TestStagesArePreparedAtOnce prepares stages in many goroutines, as the simulated
// kubelets of several hosts do. Without full tables the process ends with "concurrent
// map writes", and the race detector finds the writes.
func TestStagesArePreparedAtOnce(t *testing.T) {
	t.Parallel()
	if err := fillTypeTables(); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { prepareStages(t) })
	}
	group.Wait()
}

func prepareStages(t *testing.T) {
	all, err := readStages(nodefast.DefaultNodeInit, podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete)
	if err != nil {
		t.Error(err)
		return
	}
	for resource, list := range all {
		prepared, err := lifecycle.NewLifecycle(list)
		if err != nil {
			t.Error(err)
			return
		}
		event := &lifecycle.Event{Data: &corev1.Pod{}}
		if resource.Kind == "Node" {
			event.Data = &corev1.Node{}
		}
		if _, err := prepared.Match(t.Context(), event); err != nil {
			t.Error(err)
		}
	}
}
