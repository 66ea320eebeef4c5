package admission

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// hideTaint makes each pod of the tenant tolerate a taint, so that it is hidden.
func hideTaint(options *NodeOptions, key, value string) {
	options.Rules.Tolerations = append(options.Rules.Tolerations, corev1.Toleration{
		Key: key, Operator: corev1.TolerationOpEqual, Value: value, Effect: corev1.TaintEffectNoSchedule,
	})
}

// TestHiddenTaint lets a tenant write a taint with the key and effect of one that it does not see. The
// operator's must stay on the host.
func TestHiddenTaint(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{"back", "both"} {
		for name, test := range map[string]struct {
			reason string
			do     func(*corev1.Node)
			later  bool // the operator sets it when the tenant has one of that key
			denied bool
		}{
			"Set":     {reason: "it would replace the operator's", do: taint("team", "b"), denied: true},
			"Removed": {reason: "the tenant's was replaced a moment ago", do: untaint("team"), later: true, denied: true},
			"Changed": {reason: "the tenant's was replaced a moment ago", do: taint("team", "c"), later: true, denied: true},
			"Mixed": {reason: "a write passes as a whole or not at all", denied: true, do: func(n *corev1.Node) {
				taint("mine", "x")(n)
				taint("team", "b")(n)
			}},
			"OtherEffect": {reason: "a node has one taint per key and effect", do: func(n *corev1.Node) {
				n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "team", Value: "b", Effect: corev1.TaintEffectPreferNoSchedule})
			}},
			"OtherKey": {reason: "the operator's stays beside it", do: taint("mine", "x")},
		} {
			t.Run(settings+"/"+name, func(t *testing.T) {
				t.Parallel()
				options, host, before := nodeWorld(t, settings)
				hideTaint(&options, "team", "a")
				if test.later {
					taint("team", "b")(host.node)
					reconcileNodes(t, options, host.node, before)
				}
				taint("team", "a")(host.node)
				if !test.later {
					reconcileNodes(t, options, host.node, before)
				}
				untouched, after := host.node.DeepCopy(), before.DeepCopy()
				test.do(after)
				err := updateNode(t, options, before, after, "", false)
				if !test.denied {
					if err != nil || !hasHiddenTaint(host.node) {
						t.Errorf("%s: %v; the host has the taints %v", test.reason, err, host.node.Spec.Taints)
					}
					return
				}
				checkRefusal(t, cell{reason: test.reason, refused: []string{"team:NoSchedule", "sync.toHost.pods.enforceTolerations", "another key"}}, err)
				if diff := cmp.Diff(untouched, host.node); diff != "" {
					t.Errorf("%s: the host's node (-want +got):\n%s", test.reason, diff)
				}
			})
		}
	}
}

// hasHiddenTaint reports whether a host node has the operator's taint.
func hasHiddenTaint(host *corev1.Node) bool {
	return slices.Contains(host.Spec.Taints, corev1.Taint{Key: "team", Value: "a", Effect: corev1.TaintEffectNoSchedule})
}
