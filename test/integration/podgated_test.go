package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// TestGatedPodsFollow changes the rules about nodes of gated pods, as a queue does that lets them
// in. The operator limits the nodes too, and the host takes every change.
func TestGatedPodsFollow(t *testing.T) {
	r := newRelease(t)
	r.startSome(t, r.allKinds(func(o *kinds.Options) {
		o.Sync.ToHost.Pods.NodeSelector = map[string]string{"pool": "tenants"}
	}), "pods", "servicelinks")
	in := func(key string) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpExists}
	}
	term := func(keys ...string) corev1.NodeSelectorTerm {
		var all corev1.NodeSelectorTerm
		for _, key := range keys {
			all.MatchExpressions = append(all.MatchExpressions, in(key))
		}
		return all
	}
	for _, c := range []struct {
		name          string
		before, after []corev1.NodeSelectorTerm
	}{
		{"first", nil, []corev1.NodeSelectorTerm{term("zone")}},
		{"alternatives", nil, []corev1.NodeSelectorTerm{term("zone"), term("rack")}},
		{"further", []corev1.NodeSelectorTerm{term("zone")}, []corev1.NodeSelectorTerm{term("zone", "disk")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: c.name}, Spec: corev1.PodSpec{
				Containers:      []corev1.Container{{Name: "main", Image: "registry.test/app:1"}},
				SchedulingGates: []corev1.PodSchedulingGate{{Name: "example.com/queue"}},
				Affinity:        requiring(c.before),
			}}
			if err := r.virtual.client.Create(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			var host corev1.Pod
			eventually(t, "a gated host pod", func(ctx context.Context) error { return r.host.client.Get(ctx, r.hostKey(c.name), &host) })
			eventually(t, "the gate opens", func(ctx context.Context) error {
				if err := r.virtual.client.Get(ctx, r.virtualKey(c.name), pod); err != nil {
					return err
				}
				pod.Spec.SchedulingGates, pod.Spec.Affinity = nil, requiring(c.after)
				return r.virtual.client.Update(ctx, pod)
			})
			eventually(t, "the host pod follows", func(ctx context.Context) error {
				host = corev1.Pod{}
				if err := r.host.client.Get(ctx, r.hostKey(c.name), &host); err != nil {
					return err
				}
				return follows(&host, c.after)
			})
			r.deletePod(t, pod)
		})
	}
}

// requiring returns an affinity to nodes that match one of the terms, nil for none.
func requiring(terms []corev1.NodeSelectorTerm) *corev1.Affinity {
	if len(terms) == 0 {
		return nil
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms}}}
}

// follows returns an error unless a host pod has no gate, and these terms in the pool of the tenants.
func follows(host *corev1.Pod, terms []corev1.NodeSelectorTerm) error {
	got := host.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(host.Spec.SchedulingGates) > 0 || len(got) != len(terms) {
		return fmt.Errorf("gates %v, terms %v", host.Spec.SchedulingGates, got)
	}
	for i := range got {
		if pool := got[i].MatchExpressions[0]; len(got[i].MatchExpressions) != len(terms[i].MatchExpressions)+1 || pool.Key != "pool" {
			return fmt.Errorf("terms %v", got)
		}
	}
	return nil
}
