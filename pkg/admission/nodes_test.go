package admission

import (
	cmpstd "cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
)

// updateNode gives an update of a node to the admission, as a tenant's.
func updateNode(t *testing.T, options NodeOptions, before, after *corev1.Node, subresource string, dryRun bool) error {
	t.Helper()
	return askNode(t.Context(), t, options, admission.Update, before, after, subresource, dryRun)
}

func askNode(ctx context.Context, t *testing.T, options NodeOptions, operation admission.Operation, before, after *corev1.Node, subresource string, dryRun bool) error {
	t.Helper()
	plugin := Nodes(options)
	var is, was runtime.Object
	if after != nil {
		is = after
	}
	if before != nil {
		was = before
	}
	a := admission.NewAttributesRecord(is, was, corev1.SchemeGroupVersion.WithKind("Node"), "", "node-1",
		corev1.SchemeGroupVersion.WithResource("nodes"), subresource, operation, &metav1.UpdateOptions{}, dryRun, &user.DefaultInfo{Name: "system:sublet:syncer"})
	o := admission.NewObjectInterfacesFromScheme(scheme.Scheme)
	if err := plugin.Admit(ctx, a, o); err != nil {
		return err
	}
	return plugin.Validate(ctx, a, o)
}

// hostNode is a host of one node that refuses with err.
type hostNode struct {
	node  *corev1.Node
	err   error
	calls int
	dry   bool
}

// ChangeHostFirst implements HostChange.
func (h *hostNode) ChangeHostFirst(_ context.Context, _ string, _ client.Object, change func(client.Object) error, dryRun bool) error {
	h.calls++
	h.dry = dryRun
	if h.err != nil {
		return h.err
	}
	node := h.node
	if dryRun {
		node = node.DeepCopy()
	}
	return change(node)
}

// nodeSettings returns settings that show all of a node, and pass on what they may.
func nodeSettings() v1alpha1.Nodes {
	settings := v1alpha1.Default().Sync.FromHost.Nodes
	settings.Annotations, settings.ShowFields = []string{"*"}, []v1alpha1.ShownField{v1alpha1.ShowProviderID}
	settings.SyncBackFields = []v1alpha1.NodeField{v1alpha1.NodeUnschedulable, v1alpha1.NodeTaints, v1alpha1.NodeLabels}
	settings.SyncBackLabels = append(protectedLabels(), "mine", "hosts", "pool", "notk8s.io/x", "kubernetes.io/arch")
	return settings
}

// nodeWorld returns a host's node and the tenant's, as the syncer has left them.
func nodeWorld(t *testing.T, settings string) (options NodeOptions, host *hostNode, virtual *corev1.Node) {
	t.Helper()
	options = NodeOptions{Rules: nodes.Rules{
		Nodes: nodeSettings(), Tolerations: []corev1.Toleration{{Key: "enforced", Operator: corev1.TolerationOpExists}},
	}}
	options.Rules.Nodes.Selector = v1alpha1.NodeSelector{Labels: map[string]string{"pool": "a"}}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "node-1", UID: "u", Labels: map[string]string{"hosts": "h", "kubernetes.io/arch": "amd64", "pool": "a", "theirs": "t"},
			Annotations: map[string]string{"hosts": "h"},
		},
		Spec: corev1.NodeSpec{ProviderID: "example://1", Taints: []corev1.Taint{
			{Key: "hosts", Value: "h", Effect: corev1.TaintEffectNoSchedule},
			{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule},
		}},
		Status: corev1.NodeStatus{
			Capacity:    corev1.ResourceList{"cpu": resource.MustParse("4"), "example.com/gpu": resource.MustParse("1")},
			Allocatable: corev1.ResourceList{"cpu": resource.MustParse("4"), "example.com/gpu": resource.MustParse("1")},
		},
	}
	settings, state, _ := strings.Cut(settings, " on a cordoned ")
	node.Spec.Unschedulable = state == "host"
	virtual = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Annotations: map[string]string{labels.HostUID: "u"}}}
	virtual.Spec.Unschedulable = state == "tenant"
	options.Rules.VirtualScheduler = slices.Contains([]string{"scheduler", "both", "labels back"}, settings)
	options.Rules.Nodes.SyncBackChanges = slices.Contains([]string{"back", "both", "labels back", "only labels back"}, settings)
	if strings.HasSuffix(settings, "labels back") {
		options.Rules.Nodes.SyncBackFields = []v1alpha1.NodeField{v1alpha1.NodeLabels}
	}
	host = &hostNode{node: node}
	options.Host = host
	reconcileNodes(t, options, host.node, virtual)
	return options, host, virtual
}

// reconcileNodes reconciles both nodes as the syncer does.
func reconcileNodes(t *testing.T, options NodeOptions, host, virtual *corev1.Node) {
	t.Helper()
	kind := nodes.Real(nodes.Options{
		Nodes: nodeSettings(), VirtualScheduler: options.Rules.VirtualScheduler, Tolerations: options.Rules.Tolerations,
	})
	if err := kind.Up(syncer.Scope{}, host.DeepCopy(), virtual); err != nil {
		t.Fatal(err)
	}
}

// TestNodeAdmission checks the table of who owns what, cell by cell.
func TestNodeAdmission(t *testing.T) {
	t.Parallel()
	cells := map[string]cell{}
	for _, some := range []map[string]cell{cordonCells(), taintCells(), labelCells(), statusCells()} {
		maps.Copy(cells, some)
	}
	for name, c := range cells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options, host, before := nodeWorld(t, c.settings)
			untouched := host.node.DeepCopy()
			after := before.DeepCopy()
			c.do(after)
			asked := after.DeepCopy()
			err := updateNode(t, options, before, after, c.subresource, false)
			if len(c.refused) > 0 {
				checkRefusal(t, c, err)
				if host.calls > 0 {
					t.Errorf("%s: the host was asked", c.reason)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", c.reason, err)
			}
			want := untouched
			if c.host != nil {
				want = untouched.DeepCopy()
				c.host(want)
			}
			if diff := cmp.Diff(withoutOwnKeys(want), withoutOwnKeys(host.node)); diff != "" || (host.calls > 0) != (c.host != nil) {
				t.Errorf("%s: %d calls; the host's node (-want +got):\n%s", c.reason, host.calls, diff)
			}
			if c.next != nil {
				c.next(asked)
			}
			for range 3 {
				reconcileNodes(t, options, host.node, after)
			}
			if diff := cmp.Diff(withoutOwnKeys(asked), withoutOwnKeys(after)); diff != "" {
				t.Errorf("%s: accepted and then reverted (-asked +got):\n%s", c.reason, diff)
			}
			aloneAgain(t, c, options, host, untouched, after)
		})
	}
}

// aloneAgain holds that what went to the host is the host's: when it undoes it, the
// tenant's node has no memory of it.
func aloneAgain(t *testing.T, c cell, options NodeOptions, host *hostNode, untouched, virtual *corev1.Node) {
	t.Helper()
	if c.host == nil {
		return
	}
	host.node = untouched
	reconcileNodes(t, options, host.node, virtual)
	first := virtual.DeepCopy()
	_, _, fresh := nodeWorld(t, c.settings)
	if diff := cmp.Diff(withoutOwnKeys(fresh), withoutOwnKeys(first)); diff != "" {
		t.Errorf("%s: the host undid it (-want +got):\n%s", c.reason, diff)
	}
}

func checkRefusal(t *testing.T, c cell, err error) {
	t.Helper()
	if !apierrors.IsForbidden(err) {
		t.Fatalf("%s: want a refusal, got %v", c.reason, err)
	}
	for _, words := range c.refused {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%s: the refusal must say %q: %v", c.reason, words, err)
		}
	}
}

// withoutOwnKeys returns a node without what only Sublet reads.
func withoutOwnKeys(node *corev1.Node) *corev1.Node {
	node = node.DeepCopy()
	delete(node.Annotations, labels.LastApplied)
	delete(node.Annotations, labels.Tenant)
	// It comes and goes with the cordon.
	node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, func(t corev1.Taint) bool {
		return t.Key == corev1.TaintNodeUnschedulable && t.Effect == corev1.TaintEffectNoSchedule
	})
	slices.SortFunc(node.Spec.Taints, func(a, b corev1.Taint) int {
		return cmpstd.Or(strings.Compare(a.Key, b.Key), strings.Compare(string(a.Effect), string(b.Effect)))
	})
	return node
}

// internalKey is the context key of internal requests.
type internalKey struct{}

// TestNodesComeAndGo checks that only the syncer creates and deletes nodes. The
// requests of a tenant have the syncer's user name here: it must not matter.
func TestNodesComeAndGo(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{"default", "scheduler", "back", "both"} {
		options, _, virtual := nodeWorld(t, settings)
		options.IsSyncer = func(ctx context.Context) bool { return ctx.Value(internalKey{}) != nil }
		internal := context.WithValue(t.Context(), internalKey{}, true)
		created := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}
		for _, err := range []error{
			askNode(t.Context(), t, options, admission.Create, nil, created, "", false),
			askNode(t.Context(), t, options, admission.Delete, virtual, nil, "", false),
		} {
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "nodes are the host's") {
				t.Errorf("%s: a tenant makes and deletes no node: %v", settings, err)
			}
		}
		changed := virtual.DeepCopy()
		changed.Labels["hosts"] = "x"
		for _, err := range []error{
			askNode(internal, t, options, admission.Create, nil, created, "", false),
			askNode(internal, t, options, admission.Delete, virtual, nil, "", false),
			askNode(internal, t, options, admission.Update, virtual, changed, "", false),
			askNode(t.Context(), t, options, admission.Delete, created, nil, "", false),
		} {
			if err != nil {
				t.Errorf("%s: the syncer does as it likes, and so does a tenant with a node that is no copy: %v", settings, err)
			}
		}
	}
}

func TestNodeHostRefuses(t *testing.T) {
	t.Parallel()
	resource := corev1.Resource("nodes")
	tests := map[string]struct {
		reason string
		err    error
		is     func(error) bool
		says   string
	}{
		"Policy": {
			reason: "a policy of the host is the tenant's answer", is: apierrors.IsForbidden, says: "the host cluster refused it: pools are fixed",
			err: fmt.Errorf("cannot patch: %w", apierrors.NewForbidden(resource, "node-1", errors.New("pools are fixed"))),
		},
		"Webhook": {
			reason: "whatever the code", is: apierrors.IsForbidden, says: "the host cluster refused it: no",
			err: apierrors.NewBadRequest("no"),
		},
		"Validation": {
			reason: "a policy has the reason of a validation, but names no field", is: apierrors.IsForbidden, says: "the host cluster refused it: pools are fixed",
			err: &apierrors.StatusError{ErrStatus: metav1.Status{
				Code: 422, Reason: metav1.StatusReasonInvalid, Message: `nodes "node-1" is forbidden: pools are fixed`,
				Details: &metav1.StatusDetails{Name: "node-1", Causes: []metav1.StatusCause{{Message: "pools are fixed"}}},
			}},
		},
		"Field": {
			reason: "the host's validation names the field", is: apierrors.IsInvalid, says: "spec.taints",
			err: apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Node").GroupKind(), "node-1", field.ErrorList{
				field.Invalid(field.NewPath("spec", "taints"), "x", "no"),
			}),
		},
		"Silence": {reason: "to be tried again", is: apierrors.IsServiceUnavailable, says: "Try again", err: errors.New("dial: refused")},
		"Fault":   {reason: "to be tried again", is: apierrors.IsServiceUnavailable, says: "Try again", err: apierrors.NewInternalError(errors.New("x"))},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options, host, before := nodeWorld(t, "back")
			host.err = test.err
			after := before.DeepCopy()
			cordon(after)
			if err := updateNode(t, options, before, after, "", false); !test.is(err) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: %v", test.reason, err)
			}
		})
	}
}

func TestNodeDryRun(t *testing.T) {
	t.Parallel()
	options, host, before := nodeWorld(t, "back")
	untouched := host.node.DeepCopy()
	after := before.DeepCopy()
	cordon(after)
	if err := updateNode(t, options, before, after, "", true); err != nil || host.calls != 1 || !host.dry {
		t.Errorf("the host is asked whether it would: %v, %d calls, dry %v", err, host.calls, host.dry)
	}
	if diff := cmp.Diff(untouched, host.node); diff != "" {
		t.Errorf("what only tries changes nothing:\n%s", diff)
	}
}

// TestSwitches checks what becomes of a tenant's part when an operator changes the
// settings.
func TestSwitches(t *testing.T) {
	t.Parallel()
	mine := func(n *corev1.Node) {
		cordon(n)
		taint("mine", "x")(n)
		label("mine", "x")(n)
	}
	tests := map[string]struct {
		reason   string
		from, to string
		want     func(*corev1.Node)
	}{
		"SchedulerOff":         {reason: "cordon and taint go, the label stays", from: "scheduler", to: "default", want: label("mine", "x")},
		"BackOnBesideIt":       {reason: "nothing is pushed by itself", from: "scheduler", to: "both", want: mine},
		"BackOnInsteadOfIt":    {reason: "cordon and taint go, the label stays with the tenant", from: "scheduler", to: "back", want: label("mine", "x")},
		"BackOff":              {reason: "what the host took is the host's", from: "back", to: "default", want: mine},
		"BackOffSchedulerOn":   {reason: "what the host took is the host's", from: "back", to: "scheduler", want: mine},
		"SchedulerOffBackOn":   {reason: "what the host took is the host's", from: "both", to: "back", want: mine},
		"FieldsNarrowed":       {reason: "what the host took is the host's", from: "both", to: "labels back", want: mine},
		"SchedulerOnWithLabel": {reason: "nothing changes until the tenant acts", from: "default", to: "scheduler", want: label("mine", "x")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options, host, virtual := nodeWorld(t, test.from)
			after := virtual.DeepCopy()
			mine(after)
			if test.from == "default" {
				after = virtual.DeepCopy()
				label("mine", "x")(after)
			}
			if err := updateNode(t, options, virtual, after, "", false); err != nil {
				t.Fatal(err)
			}
			reconcileNodes(t, options, host.node, after)
			pushed := host.node.DeepCopy()
			later, _, want := nodeWorld(t, test.to)
			test.want(want)
			reconcileNodes(t, later, host.node, after)
			if diff := cmp.Diff(withoutOwnKeys(want), withoutOwnKeys(after)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
			if diff := cmp.Diff(pushed, host.node); diff != "" {
				t.Errorf("a switch changes nothing on the host:\n%s", diff)
			}
		})
	}
}

// TestPassedIsForgotten checks a tenant's write to the host under keys that hide values
// of the tenant. Those values must not come back when the host removes the keys.
func TestPassedIsForgotten(t *testing.T) {
	t.Parallel()
	options, host, virtual := nodeWorld(t, "both")
	virtual.Annotations[labels.Tenant] = `{"labels":{"hosts":"mine"},"taints":[{"key":"hosts","value":"mine","effect":"NoSchedule"}]}`
	reconcileNodes(t, options, host.node, virtual)
	after := virtual.DeepCopy()
	taint("hosts", "new")(after)
	label("hosts", "new")(after)
	if err := updateNode(t, options, virtual, after, "", false); err != nil {
		t.Fatal(err)
	}
	unlabel("hosts")(host.node)
	untaint("hosts")(host.node)
	reconcileNodes(t, options, host.node, after)
	if diff := cmp.Diff(withoutOwnKeys(host.node).Spec.Taints, withoutOwnKeys(after).Spec.Taints); diff != "" || after.Labels["hosts"] != "" {
		t.Errorf("labels %v; taints (-host +virtual):\n%s", after.Labels, diff)
	}
}
