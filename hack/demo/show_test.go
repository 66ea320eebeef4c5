package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSideBySide(t *testing.T) {
	t.Parallel()
	got := sideBySide("left", []string{"a Running node-1", "long-name Pending -"}, "right", []string{"b Running node-1"})
	want := strings.Join([]string{
		"          LEFT                         RIGHT",
		"          a          Running  node-1   b  Running  node-1",
		"          long-name  Pending  -        ",
		"",
	}, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sideBySide (-want +got):\n%s", diff)
	}
}

func TestSameNodes(t *testing.T) {
	t.Parallel()
	node := func(change func(*corev1.Node)) corev1.Node {
		n := corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"zone": "1"}},
			Status: corev1.NodeStatus{
				Capacity:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")},
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			},
		}
		change(&n)
		return n
	}
	as := node(func(*corev1.Node) {})
	for _, c := range []struct {
		reason  string
		virtual []corev1.Node
		same    bool
	}{
		{"equal", []corev1.Node{as}, true},
		{"annotations and UID are each side's own", []corev1.Node{node(func(n *corev1.Node) {
			n.UID, n.Annotations = "1", map[string]string{"a": "b"}
		})}, true},
		{"one number in two spellings", []corev1.Node{node(func(n *corev1.Node) {
			n.Status.Capacity[corev1.ResourceCPU] = resource.MustParse("4000m")
		})}, true},
		{"missing", nil, false},
		{"another name", []corev1.Node{node(func(n *corev1.Node) { n.Name = "b" })}, false},
		{"another label", []corev1.Node{node(func(n *corev1.Node) { n.Labels["zone"] = "2" })}, false},
		{"another taint", []corev1.Node{node(func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}
		})}, false},
		{"less capacity", []corev1.Node{node(func(n *corev1.Node) {
			n.Status.Capacity[corev1.ResourceCPU] = resource.MustParse("2")
		})}, false},
		{"not ready", []corev1.Node{node(func(n *corev1.Node) {
			n.Status.Conditions[0].Status = corev1.ConditionFalse
		})}, false},
	} {
		if err := compareNodes([]corev1.Node{as}, c.virtual); (err == nil) != c.same {
			t.Errorf("%s: sameNodes = %v, want same = %v", c.reason, err, c.same)
		}
	}
}

func TestUntilSaysWhatWasWrongLast(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	wrong := errors.New("2 of 3 replicas are available")
	if err := waitUntil(ctx, func(context.Context) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("until = %v, want the last complaint", err)
	}
	if err := waitUntil(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Errorf("until = %v, want nil once nothing is wrong", err)
	}
}
