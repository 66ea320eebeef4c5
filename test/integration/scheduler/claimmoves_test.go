package scheduler

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestClaimMoves checks that a claim that waits for its pod holds the pod to no node where it
// cannot run. The host refuses the first node. For the second, the driver takes its time, and
// gives the claim back.
func TestClaimMoves(t *testing.T) {
	t.Parallel()
	host := newHost(t, 2)
	s := open(t, host, "moves", map[string]any{"hostUsage": false})
	full, roomy := host.Nodes()[0], host.Nodes()[1]
	s.fill(t, full)
	pod := newConsumer(t, s, "consumer")
	pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("3")}
	pod.Spec.Affinity = prefer(full)
	s.create(t, pod)
	s.claimIsFor(t, roomy)

	s.fill(t, roomy)
	if err := s.takeNodeBack(t.Context(), "data"); err != nil {
		t.Fatal(err)
	}
	s.free(t, full)
	s.claimIsFor(t, full)
	if node := provision(t, s); node != full {
		t.Errorf("the claim is for %s, which is full by now", node)
	}
	if got := s.running(t, "consumer"); got.Spec.NodeName != full {
		t.Errorf("on %s, its volume is on %s", got.Spec.NodeName, full)
	}
}

// claimIsFor waits until both sides show a node on the claim.
func (s *shop) claimIsFor(t *testing.T, node string) {
	t.Helper()
	eventually(t, "the claim is for "+node, func(ctx context.Context) error {
		virtual, err := s.client.CoreV1().PersistentVolumeClaims(metav1.NamespaceDefault).Get(ctx, "data", metav1.GetOptions{})
		if err != nil {
			return err
		}
		host, err := s.host.Client().CoreV1().PersistentVolumeClaims(s.name).List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
		if err != nil {
			return err
		}
		// The syncer needs its record to see later that the host has given the claim back.
		if len(host.Items) != 1 || host.Items[0].Annotations[selectedNode] != node || virtual.Annotations[selectedNode] != node ||
			virtual.Annotations[labels.ClaimNode] != node {
			err = errors.New("another, or none: " + virtual.Annotations[selectedNode])
		}
		return err
	})
}

// prefer returns the affinity of a pod that likes one node best.
func prefer(node string) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
		Weight: 100, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
		}}},
	}}}}
}
