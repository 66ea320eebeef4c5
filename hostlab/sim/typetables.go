package sim

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/utils/lifecycle"
)

// fillTypeTables lets KWOK prepare one stage of a node and one of a pod.
//
// The preparation writes into tables of types that the whole process shares, without
// a lock. KWOK's controllers of nodes and of pods do it at their first object, which
// may be at the same moment: the process then ends. With the tables full they
// only read.
//
//nolint:gochecknoglobals // The tables are the process's, so they are filled once in it.
var fillTypeTables = sync.OnceValue(func() error {
	all, err := readStages(nodefast.DefaultNodeInit, podfast.DefaultPodReady)
	if err != nil {
		return err
	}
	for resource, list := range all {
		prepared, err := lifecycle.NewLifecycle(list)
		if err != nil {
			return fmt.Errorf("cannot read the stages of simulated %s: %w", resource.Kind, err)
		}
		event := &lifecycle.Event{Data: &corev1.Pod{}}
		if resource.Kind == "Node" {
			event.Data = &corev1.Node{}
		}
		if _, err := prepared.Match(context.Background(), event); err != nil {
			return fmt.Errorf("cannot prepare the stages of simulated %s: %w", resource.Kind, err)
		}
	}
	return nil
})
