package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/test/await"
)

// onBoth reads a node from both sides and holds that check is content with each.
func (l *landlord) onBoth(t *testing.T, what, name string, check func(*corev1.Node) bool) {
	t.Helper()
	for side, c := range map[string]*cluster{"host": l.host, "virtual": l.virtual} {
		if node := l.node(t, c, name); !check(node) {
			t.Errorf("%s: the %s node has labels %v, taints %v, unschedulable %v", what, side, node.Labels, node.Spec.Taints, node.Spec.Unschedulable)
		}
	}
}

// hasMine reports whether a node has the taint that the tests set.
func hasMine(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == "mine" })
}

func cordoned(n *corev1.Node) bool { return n.Spec.Unschedulable }

func not(check func(*corev1.Node) bool) func(*corev1.Node) bool {
	return func(n *corev1.Node) bool { return !check(n) }
}

// TestNodesSyncBack changes nodes on the host by way of the virtual cluster: when a
// request has succeeded, both sides have the change.
func TestNodesSyncBack(t *testing.T) {
	l := newLandlord(t, false, true, 2)
	l.open(t, l.virtual.memory()).synced(t)
	name := l.names[0]
	l.node(t, l.virtual, name)
	seen := l.history(t, name)

	mustChange(t, l.virtual, name, setCordon(true))
	l.onBoth(t, "cordon", name, cordoned)
	mustChange(t, l.virtual, name, addTaint("mine"))
	l.onBoth(t, "taint", name, hasMine)
	mustChange(t, l.virtual, name, setLabel("mine", "x"))
	l.onBoth(t, "label", name, func(n *corev1.Node) bool { return n.Labels["mine"] == "x" })
	mustChange(t, l.virtual, name, func(n *corev1.Node) { n.Spec.Taints = nil })
	l.onBoth(t, "untaint, the host's too", name, func(n *corev1.Node) bool { return len(n.Spec.Taints) == 0 })
	mustChange(t, l.virtual, name, func(n *corev1.Node) { delete(n.Labels, "mine") })
	l.onBoth(t, "unlabel", name, func(n *corev1.Node) bool { return n.Labels["mine"] == "" })
	mustChange(t, l.host, name, func(n *corev1.Node) { n.Annotations = map[string]string{"host": "moves"} })
	mustChange(t, l.virtual, name, setCordon(false))
	l.onBoth(t, "uncordon", name, not(cordoned))
	eventually(t, "the host's last change", func(context.Context) error {
		if l.node(t, l.virtual, name).Annotations["host"] != "moves" {
			return errors.New("not yet")
		}
		return nil
	})
	l.onBoth(t, "uncordon, later", name, not(cordoned))
	// Each state was shown once: nothing went back and forth.
	if got, want := seen(), []string{"", "cordoned", "cordoned mine", "cordoned mine x", "cordoned x", "cordoned", ""}; !slices.Equal(got, want) {
		t.Errorf("the virtual node was seen as\n%q, want\n%q", got, want)
	}
	if other := l.node(t, l.host, l.names[1]); other.Spec.Unschedulable || hasMine(other) {
		t.Error("another node of the host was changed")
	}

	mustChange(t, l.virtual, name, func(n *corev1.Node) {
		n.Labels["topology.kubernetes.io/zone"], n.Annotations["csi.example.com/node"] = "mine", "mine"
	})
	if host := l.node(t, l.host, name); host.Labels["topology.kubernetes.io/zone"] != "" || host.Annotations["csi.example.com/node"] != "" {
		t.Errorf("never on the host: %v %v", host.Labels, host.Annotations)
	}
	if err := change(t.Context(), l.virtual, name, false, nil, func(n *corev1.Node) { delete(n.Labels, "pool") }); !apierrors.IsForbidden(err) {
		t.Errorf("what selects a node is not the tenant's: %v", err)
	}
	if err := change(t.Context(), l.virtual, name, false, []client.PatchOption{client.DryRunAll}, setCordon(true)); err != nil {
		t.Error(err)
	}
	l.onBoth(t, "dry run", name, not(cordoned))
}

// history collects what a watch shows of the fields that go to the host, without
// repetitions.
func (l *landlord) history(t *testing.T, name string) func() []string {
	t.Helper()
	c := kubernetes.NewForConfigOrDie(l.virtual.memory())
	first := l.node(t, l.virtual, name)
	changes := await.Changes(t, first.ResourceVersion, func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = "metadata.name=" + name
		return c.CoreV1().Nodes().Watch(ctx, o)
	})
	state := func(n *corev1.Node) string {
		var words []string
		if n.Spec.Unschedulable {
			words = append(words, "cordoned")
		}
		if hasMine(n) {
			words = append(words, "mine")
		}
		return strings.Join(append(words, strings.Fields(n.Labels["mine"])...), " ")
	}
	return func() []string {
		last := l.node(t, l.virtual, name).ResourceVersion
		states := []string{state(first)}
		for event := range changes {
			node, ok := event.Object.(*corev1.Node)
			if !ok {
				t.Fatalf("%v", event)
			}
			if now := state(node); now != states[len(states)-1] {
				states = append(states, now)
			}
			if node.ResourceVersion == last {
				break
			}
		}
		return states
	}
}

// TestNodesSyncBackUpdates replaces a node whole, as clients do that do not patch,
// again and again: the syncer never comes in between.
func TestNodesSyncBackUpdates(t *testing.T) {
	l := newLandlord(t, true, true, 1)
	l.open(t, l.virtual.memory()).synced(t)
	name := l.names[0]
	for i := range 100 {
		node := l.node(t, l.virtual, name)
		node.Labels["mine"] = fmt.Sprint(i)
		node.Spec.Unschedulable = i%2 == 0
		begin := time.Now()
		err := l.virtual.client.Update(t.Context(), node)
		// The syncer waits five seconds for the end of a request. Then it writes the change itself.
		if err != nil && (!apierrors.IsConflict(err) || time.Since(begin) < 5*time.Second) {
			t.Fatalf("update %d: %v", i, err)
		}
		l.onBoth(t, "update", name, func(n *corev1.Node) bool {
			return n.Labels["mine"] == fmt.Sprint(i) && n.Spec.Unschedulable == (i%2 == 0)
		})
	}
}

// TestNodesSyncBackRefused lets a host that refuses.
func TestNodesSyncBackRefused(t *testing.T) {
	l := newLandlord(t, true, true, 1)
	l.open(t, l.virtual.memory()).synced(t)
	name := l.names[0]
	l.node(t, l.virtual, name)
	l.policy(t, name)
	err := change(t.Context(), l.virtual, name, false, nil, func(n *corev1.Node) {
		n.Labels["forbidden"] = "x"
		n.Spec.Unschedulable = true
	})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "the host cluster refused it") || !strings.Contains(err.Error(), "pools are fixed") {
		t.Errorf("the host's refusal is the tenant's error: %v", err)
	}
	l.onBoth(t, "refused", name, func(n *corev1.Node) bool { return n.Labels["forbidden"] == "" && !n.Spec.Unschedulable })
}

// policy makes the host refuse a label.
func (l *landlord) policy(t *testing.T, name string) {
	t.Helper()
	storePolicy(t, l.host.client, l.namespace, "!('forbidden' in object.metadata.labels)", "pools are fixed",
		&admissionregistrationv1.MatchResources{ResourceRules: ruleFor(admissionregistrationv1.Update, "nodes")})
	eventually(t, "the host's policy", func(ctx context.Context) error {
		err := change(ctx, l.host, name, false, []client.PatchOption{client.DryRunAll}, setLabel("forbidden", "x"))
		if err == nil {
			return errors.New("it does not refuse yet")
		}
		return nil
	})
}

// TestNodesSyncBackHalfWay ends requests when the host has been written and the
// virtual node has not.
func TestNodesSyncBackHalfWay(t *testing.T) {
	l := newLandlord(t, true, true, 1)
	e := l.open(t, l.virtual.memory())
	e.synced(t)
	name := l.names[0]
	l.node(t, l.virtual, name)
	for i, edit := range []func(*corev1.Node){setCordon(true), setLabel("mine", "x"), addTaint("mine"), setCordon(false)} {
		broken := errors.New("killed")
		l.after.Store(&broken)
		if err := change(t.Context(), l.virtual, name, false, nil, edit); err == nil {
			t.Fatal("the request must fail")
		}
		l.after.Store(nil)
		if i%2 == 0 { // Killed, or only this request lost.
			e.stop()
			e = l.open(t, l.virtual.memory())
		}
		eventually(t, "both sides are equal", func(context.Context) error {
			host, virtual := l.node(t, l.host, name), l.node(t, l.virtual, name)
			if host.Spec.Unschedulable != virtual.Spec.Unschedulable || host.Labels["mine"] != virtual.Labels["mine"] || hasMine(host) != hasMine(virtual) {
				return fmt.Errorf("host %v %v, virtual %v %v", host.Labels, host.Spec, virtual.Labels, virtual.Spec)
			}
			return nil
		})
		if err := change(t.Context(), l.virtual, name, false, nil, edit); i != 2 && err != nil {
			t.Errorf("what failed half-way succeeds when it is repeated: %v", err)
		}
	}
	l.onBoth(t, "in the end", name, func(n *corev1.Node) bool { return !n.Spec.Unschedulable && n.Labels["mine"] == "x" && hasMine(n) })
}

// TestNodeSwitches changes the settings of a virtual cluster that runs, as helm
// upgrade does.
func TestNodeSwitches(t *testing.T) {
	l := newLandlord(t, true, false, 1)
	e := l.open(t, l.virtual.memory())
	e.synced(t)
	name := l.names[0]
	l.node(t, l.virtual, name)
	again := func(scheduler, back bool) {
		t.Helper()
		e.stop()
		l.scheduler, l.nodes.SyncBackChanges = scheduler, back
		e = l.open(t, l.virtual.memory())
		e.synced(t)
	}
	mine := func(n *corev1.Node) bool { return n.Labels["mine"] == "x" && hasMine(n) && cordoned(n) }
	untouched := func(n *corev1.Node) bool { return n.Labels["mine"] == "" && !hasMine(n) && !cordoned(n) }
	mustChange(t, l.virtual, name, func(n *corev1.Node) { setLabel("mine", "x")(n); addTaint("mine")(n); setCordon(true)(n) })

	again(true, true)
	mustChange(t, l.host, name, setLabel("host", "1"))
	eventually(t, "a change of the host", func(context.Context) error {
		if n := l.node(t, l.virtual, name); n.Labels["host"] != "1" {
			return fmt.Errorf("labels %v", n.Labels)
		}
		return nil
	})
	if !mine(l.node(t, l.virtual, name)) || !untouched(l.node(t, l.host, name)) {
		t.Error("syncBackChanges pushes nothing by itself and takes nothing away")
	}

	again(false, false)
	eventually(t, "without a scheduler", func(context.Context) error {
		if n := l.node(t, l.virtual, name); n.Labels["mine"] != "x" || hasMine(n) || cordoned(n) {
			return fmt.Errorf("labels %v, spec %v", n.Labels, n.Spec)
		}
		return nil
	})
	eventually(t, "the event", func(ctx context.Context) error {
		events := &corev1.EventList{}
		if err := l.virtual.client.List(ctx, events, client.InNamespace("default")); err != nil {
			return err
		}
		if !slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.Name == name && e.Reason == "NodeChangesDropped"
		}) {
			return fmt.Errorf("there is none among %d", len(events.Items))
		}
		return nil
	})

	again(false, true)
	mustChange(t, l.virtual, name, setCordon(true))
	again(true, false)
	if err := change(t.Context(), l.virtual, name, false, nil, setCordon(false)); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "the host has cordoned") {
		t.Errorf("what went to the host is the host's when syncBackChanges is off again: %v", err)
	}
	l.onBoth(t, "back off", name, cordoned)
}
