package integration

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// hostUpdates is how often the host's nodes change in TestNodesUnderKills.
const hostUpdates = 10_000

// kills is how often the syncer is killed meanwhile.
const kills = 20

// TestNodesUnderKills changes the host's nodes 10,000 times in every way there is. The
// tenant changes cordons, taints, labels, annotations and resources at the same time.
// The syncer is killed between any two of its writes.
func TestNodesUnderKills(t *testing.T) {
	const nodes = 5
	l := newLandlord(t, true, false, nodes)
	e := l.open(t, l.virtual.memory())
	e.synced(t)
	for i, name := range l.names {
		l.node(t, l.virtual, name)
		l.tenantSettles(t, name, i%2 == 0)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for round := range kills {
		for range hostUpdates / kills {
			if err := change(t.Context(), l.host, l.names[r.IntN(nodes)], r.IntN(4) == 0, nil, hostEdit(r)); err != nil {
				t.Fatal(err)
			}
			if r.IntN(10) == 0 {
				mustChange(t, l.virtual, l.names[r.IntN(nodes)], setLabel("mine/moves", fmt.Sprint(round)))
			}
		}
		e.stop()
		e = l.open(t, l.doomed(r.IntN(300))) // It dies somewhere in the next round.
	}
	e.stop()
	e = l.open(t, l.virtual.memory())
	e.synced(t)
	for i, name := range l.names {
		eventually(t, "both parts of node "+name, func(context.Context) error { return l.bothParts(t, name, i%2 == 0) })
	}
	eventually(t, "a restart finds nothing to write", func(context.Context) error {
		before := l.node(t, l.virtual, l.names[0]).ResourceVersion
		e.stop()
		e = l.open(t, l.virtual.memory())
		e.synced(t)
		if after := l.node(t, l.virtual, l.names[0]).ResourceVersion; before != after {
			return fmt.Errorf("version %s became %s", before, after)
		}
		return nil
	})
}

// tenantSettles gives a node the tenant's part.
func (l *landlord) tenantSettles(t *testing.T, name string, cordoned bool) {
	t.Helper()
	mustChange(t, l.virtual, name, func(n *corev1.Node) {
		for _, key := range []string{"mine/stays", "mine/moves", "both/a", "both/b"} {
			n.Labels[key] = "tenant"
		}
		n.Annotations["mine/stays"], n.Annotations["both/a"] = "tenant", "tenant"
		addTaint("mine")(n)
		addTaint("both")(n)
		n.Spec.Unschedulable = cordoned
	})
	err := change(t.Context(), l.virtual, name, true, nil, func(n *corev1.Node) {
		n.Status.Capacity["example.com/dongle"] = resource.MustParse("4")
		n.Status.Capacity["example.com/gpu"] = resource.MustParse("9")
	})
	if err != nil {
		t.Fatal(err)
	}
}

// hostEdit returns one of all the ways in which a host's node changes, under the
// tenant's keys and under others.
func hostEdit(r *rand.Rand) func(*corev1.Node) {
	key, value := "both/"+string(rune('a'+r.IntN(3))), fmt.Sprint(r.IntN(3))
	return func(n *corev1.Node) {
		switch r.IntN(7) {
		case 0:
			setLabel(key, value)(n)
		case 1:
			delete(n.Labels, key)
		case 2:
			n.Annotations = map[string]string{key: value}
		case 3:
			n.Spec.Unschedulable = !n.Spec.Unschedulable
		case 4:
			n.Spec.Taints = nil
			if r.IntN(2) == 0 {
				n.Spec.Taints = []corev1.Taint{{Key: "both", Value: value, Effect: corev1.TaintEffectNoSchedule}, {Key: "hosts", Effect: corev1.TaintEffectNoSchedule}}
			}
		case 5:
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: value}}
		case 6:
			delete(n.Status.Capacity, "example.com/gpu")
			if r.IntN(2) == 0 {
				n.Status.Capacity["example.com/gpu"] = resource.MustParse(value)
			}
			n.Status.Allocatable = n.Status.Capacity
		}
	}
}

// bothParts reports whether a virtual node is the host's over the tenant's, and
// whether the host has nothing of the tenant's.
func (l *landlord) bothParts(t *testing.T, name string, cordoned bool) error {
	t.Helper()
	host, virtual := l.node(t, l.host, name), l.node(t, l.virtual, name)
	labels := map[string]string{"mine/stays": "tenant", "mine/moves": virtual.Labels["mine/moves"], "both/a": "tenant", "both/b": "tenant"}
	annotations := map[string]string{"mine/stays": "tenant", "both/a": "tenant"}
	maps.Copy(labels, host.Labels)
	maps.Copy(annotations, host.Annotations)
	for key := range annotations {
		if virtual.Annotations[key] != annotations[key] {
			return fmt.Errorf("annotation %s is %q, want %q", key, virtual.Annotations[key], annotations[key])
		}
	}
	capacity := corev1.ResourceList{"example.com/dongle": resource.MustParse("4"), "example.com/gpu": resource.MustParse("9")}
	maps.Copy(capacity, host.Status.Capacity)
	taints := map[string]string{"mine": "", "both": ""}
	if cordoned {
		taints[corev1.TaintNodeUnschedulable] = ""
	}
	for _, taint := range host.Spec.Taints {
		taints[taint.Key] = taint.Value
	}
	got := map[string]string{}
	for _, taint := range virtual.Spec.Taints {
		got[taint.Key] = taint.Value
	}
	for what, diff := range map[string]string{
		"labels": cmp.Diff(labels, virtual.Labels), "taints": cmp.Diff(taints, got), "capacity": cmp.Diff(capacity, virtual.Status.Capacity),
		"conditions": cmp.Diff(host.Status.Conditions, virtual.Status.Conditions),
	} {
		if diff != "" {
			return fmt.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	if len(got) != len(virtual.Spec.Taints) || virtual.Spec.Unschedulable != (cordoned || host.Spec.Unschedulable) {
		return fmt.Errorf("taints %v, unschedulable %v", virtual.Spec.Taints, virtual.Spec.Unschedulable)
	}
	for key, value := range host.Labels {
		if strings.HasPrefix(key, "mine/") || value == "tenant" {
			t.Fatalf("leaked to the host: label %s=%s", key, value)
		}
	}
	if slices.ContainsFunc(host.Spec.Taints, func(t corev1.Taint) bool { return t.Key == "mine" }) || host.Status.Capacity.Name("example.com/dongle", resource.DecimalSI).Sign() > 0 {
		t.Fatalf("leaked to the host: %v, %v", host.Spec.Taints, host.Status.Capacity)
	}
	return nil
}

// TestNodeRefusals asks real servers for what nobody gets.
func TestNodeRefusals(t *testing.T) {
	l := newLandlord(t, false, false, 1)
	l.open(t, l.virtual.memory()).synced(t)
	name := l.names[0]
	before := l.node(t, l.virtual, name)
	both := []string{"controlPlane.advanced.virtualScheduler.enabled", "sync.fromHost.nodes.syncBackChanges"}
	tests := map[string]struct {
		do   func() error
		says []string
	}{
		"cordon": {func() error { return change(t.Context(), l.virtual, name, false, nil, setCordon(true)) }, both},
		"taint":  {func() error { return change(t.Context(), l.virtual, name, false, nil, addTaint("mine")) }, both},
		"label": {func() error {
			return change(t.Context(), l.virtual, name, false, nil, setLabel("kubernetes.io/arch", "z80"))
		}, []string{"kubernetes.io/arch is the host's"}},
		"create": {func() error {
			return l.virtual.client.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "mine"}})
		}, []string{"cannot create"}},
		"delete":     {func() error { return l.virtual.client.Delete(t.Context(), before) }, []string{"cannot delete"}},
		"delete all": {func() error { return l.virtual.client.DeleteAllOf(t.Context(), &corev1.Node{}) }, []string{"cannot delete"}},
		"status": {func() error {
			return change(t.Context(), l.virtual, name, true, nil, func(n *corev1.Node) { n.Status.Phase = corev1.NodePending })
		}, []string{"status of a node is the host's"}},
		"label by status": {func() error {
			return change(t.Context(), l.virtual, name, true, nil, setLabel("kubernetes.io/arch", "z80"))
		}, []string{"kubernetes.io/arch is the host's"}},
	}
	for what, test := range tests {
		err := test.do()
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: want a refusal, got %v", what, err)
			continue
		}
		for _, words := range test.says {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%s: %q must be in the refusal: %v", what, words, err)
			}
		}
	}
	if after := l.node(t, l.virtual, name); after.ResourceVersion != before.ResourceVersion {
		t.Error("what is refused changes nothing")
	}
	mustChange(t, l.virtual, name, setLabel("feature.node.kubernetes.io/cpu", "found"))
	mustChange(t, l.host, name, setLabel("rack", "7"))
	eventually(t, "the host's label beside the tenant's", func(context.Context) error {
		node := l.node(t, l.virtual, name)
		if node.Labels["rack"] != "7" || node.Labels["feature.node.kubernetes.io/cpu"] != "found" {
			return fmt.Errorf("labels %v", node.Labels)
		}
		return nil
	})
}
