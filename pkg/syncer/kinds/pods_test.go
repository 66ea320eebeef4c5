package kinds

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

func TestHasStarted(t *testing.T) {
	t.Parallel()
	marked := func(by string) metav1.ObjectMeta {
		return metav1.ObjectMeta{UID: "one", Annotations: map[string]string{labels.Bound: by}}
	}
	tests := map[string]struct {
		reason string
		pod    corev1.Pod
		want   bool
	}{
		"New": {reason: "nothing has happened yet"},
		"Named": {
			reason: "the tenant named a node; no host pod was ever there, and the pod must not end for the lack of one",
			pod:    corev1.Pod{Spec: corev1.PodSpec{NodeName: "node-1"}},
		},
		"Bound": {
			reason: "the syncer has bound it, after the host had bound its copy",
			pod:    corev1.Pod{ObjectMeta: marked("one"), Spec: corev1.PodSpec{NodeName: "node-1"}},
			want:   true,
		},
		"BoundByTheTenant": {
			reason: "a scheduler of the tenant's may bind a pod that the host has never heard of",
			pod: corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{UID: "one"}, Spec: corev1.PodSpec{NodeName: "node-1"},
				Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}},
			},
		},
		"CopiedMark": {
			reason: "a manifest taken from another pod says nothing of this one",
			pod:    corev1.Pod{ObjectMeta: marked("other"), Spec: corev1.PodSpec{NodeName: "node-1"}},
		},
		"Ran": {
			reason: "a kubelet has started it, even if its node was never shown",
			pod:    corev1.Pod{Status: corev1.PodStatus{StartTime: &metav1.Time{Time: time.Unix(1, 0)}}},
			want:   true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := translate.HasStarted(&tt.pod, nil, false); got != tt.want {
				t.Errorf("%s: got %t", tt.reason, got)
			}
		})
	}
}

func TestAllowedNodes(t *testing.T) {
	t.Parallel()
	shown := map[string]string{"pool": "shown"}
	enforced := map[string]string{"pool": "enforced"}
	tests := map[string]struct {
		reason         string
		enabled        bool
		nodes          v1alpha1.Nodes
		enforced, want map[string]string
	}{
		"All":      {reason: "every node is shown", enabled: true, nodes: v1alpha1.Nodes{Selector: v1alpha1.NodeSelector{All: true, Labels: shown}}},
		"Labels":   {reason: "some nodes are shown", enabled: true, nodes: v1alpha1.Nodes{Selector: v1alpha1.NodeSelector{Labels: shown}}, want: shown},
		"WithPods": {reason: "those are shown that pods run on", nodes: v1alpha1.Nodes{}, enabled: true, enforced: enforced, want: enforced},
		"Pseudo":   {reason: "no real node is shown", nodes: v1alpha1.Nodes{Selector: v1alpha1.NodeSelector{Labels: shown}}},
		"Enforced": {reason: "no real node is shown, and the operator names some", nodes: v1alpha1.Nodes{}, enforced: enforced, want: enforced},
	}
	for name, tt := range tests {
		sync := v1alpha1.Sync{
			ToHost:   v1alpha1.ToHost{Pods: v1alpha1.Pods{NodeSelector: tt.enforced}},
			FromHost: v1alpha1.FromHost{Nodes: tt.nodes},
			Kinds:    map[string]v1alpha1.KindSettings{"sync.fromHost.nodes": {Enabled: tt.enabled}},
		}
		if diff := cmp.Diff(tt.want, allowedNodes(sync)); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", name, tt.reason, diff)
		}
	}
}

// TestPodsRead holds that what Down and Up read is watched: the caches of the
// engine show nothing else.
func TestPodsRead(t *testing.T) {
	t.Parallel()
	watched := map[string]bool{}
	resource := Pods(testOptions())
	for _, watch := range resource.Also {
		// The rows of NetworkPolicies, events and claims have the right to watch them, and this row
		// that of ConfigMaps and Secrets.
		switch watch.Object.(type) {
		case *networkingv1.NetworkPolicy, *corev1.Event, *corev1.ConfigMap, *corev1.Secret, *corev1.PersistentVolumeClaim:
			continue
		}
		if watch.Side != syncer.Virtual {
			t.Errorf("%T is watched on the host, which needs a right", watch.Object)
		}
		watched[reflectType(watch.Object).Name()] = true
	}
	for _, name := range []string{"Node", "Service", "Namespace"} {
		if !watched[name] {
			t.Errorf("%s is read and not watched", name)
		}
	}
	if !resource.EvictedWithCopy || resource.Started == nil {
		t.Error("a pod that the host ends must end in the virtual cluster")
	}
}

// TestNodeReachesItsPods checks that an event of a node costs reads for the pods that
// the host has bound to that node, however many others wait.
func TestNodeReachesItsPods(t *testing.T) {
	t.Parallel()
	kind := syncer.Define("pods", Pods(testOptions()))
	virtual, host := newShelf(syncer.Virtual, kind.Indexes()), newShelf(syncer.Host, kind.Indexes())
	for i := range 100 {
		key := types.NamespacedName{Namespace: "shop", Name: fmt.Sprintf("web-%d", i)}
		copied := &corev1.Pod{Spec: corev1.PodSpec{NodeName: fmt.Sprintf("node-%d", i%50)}}
		translate.Stamp(testCluster(), translate.Hashed, key, "u", copied)
		host.putObject(copied)
		virtual.putObject(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: "u"}})
	}
	step := syncer.Step{
		Kind: kind, Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()),
		Virtual: syncer.StepSide{Client: virtual}, Host: syncer.StepSide{Client: host},
	}
	watches := kind.Watches()
	i := slices.IndexFunc(watches, func(w syncer.Watch) bool { return reflectType(w.Object).Name() == "Node" })
	keys, err := step.Requeued(t.Context(), watches[i], &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-7"}})
	if err != nil || len(keys) != 2 {
		t.Errorf("got %v, %v; want the two pods on the node", keys, err)
	}
	if reads := virtual.reads + host.reads; reads > 3 {
		t.Errorf("%d reads for two pods", reads)
	}
}

// briefProposal is a proposal in memory that ends right after it was read.
type briefProposal struct{ node string }

func (b *briefProposal) Proposed(types.UID) string {
	node := b.node
	b.node = ""
	return node
}

// reconcilePod reconciles a virtual pod once.
func reconcilePod(t *testing.T, kind syncer.Kind, pod *corev1.Pod, virtual, host *shelf) {
	t.Helper()
	side := func(s *shelf) syncer.StepSide {
		return syncer.StepSide{Client: s, Objects: func() []client.Object { return s.ofType(pod) }}
	}
	step := syncer.Step{
		Kind: kind, Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()), Virtual: side(virtual), Host: side(host),
	}
	if _, err := step.Reconcile(t.Context(), client.ObjectKeyFromObject(pod)); err != nil {
		t.Fatal(err)
	}
}

// TestProposalIsReadOnce checks that a proposal which ends in the middle of a reconcile
// never leads to a host pod without a pin.
func TestProposalIsReadOnce(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.VirtualScheduler, o.Proposals = true, &briefProposal{"node-1"}
	kind := syncer.Define("pods", Pods(o))
	virtual, host := newShelf(syncer.Virtual, kind.Indexes()), newShelf(syncer.Host, kind.Indexes())
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u"}}
	virtual.putObject(pod)
	reconcilePod(t, kind, pod, virtual, host)
	copies := host.ofType(pod)
	if len(copies) != 1 || copies[0].GetAnnotations()[labels.Place] != "node-1" {
		t.Errorf("want one host pod that is pinned to node-1, got %v", copies)
	}
}

// TestHasRunUnseen checks which traces of the host keep a pod from being created again.
func TestHasRunUnseen(t *testing.T) {
	t.Parallel()
	born := time.Unix(1000, 0)
	for name, tt := range map[string]struct {
		reason    string
		eventAt   int64 // 0 for no event
		event     string
		termStart int64
		off       bool // events are not synced
		want      translate.PodState
	}{
		"Bound":     {reason: "the host had bound it", eventAt: 1000, event: "Scheduled", termStart: 1100, want: translate.PodEvicted},
		"Never":     {reason: "nothing shows that it ever had a host pod", termStart: 1100, want: translate.PodNoCopy},
		"Unbound":   {reason: "its host pod never had a node", eventAt: 1001, event: "FailedScheduling", termStart: 1100, want: translate.PodNoCopy},
		"Namesake":  {reason: "an earlier pod of that name was bound", eventAt: 900, event: "Scheduled", termStart: 1100, want: translate.PodNoCopy},
		"LateClock": {reason: "the clock of the host is a second late", eventAt: 999, event: "Scheduled", termStart: 1100, want: translate.PodEvicted},
		"Young":     {reason: "this syncer has seen all of it", eventAt: 1001, event: "Scheduled", termStart: 997, want: translate.PodNoCopy},
		"FastClock": {reason: "the clock of the replica that stored it is two seconds fast", eventAt: 1001, event: "Scheduled", termStart: 999, want: translate.PodEvicted},
		"Off":       {reason: "without events there is no trace", eventAt: 1001, event: "Scheduled", termStart: 1100, off: true, want: translate.PodNoCopy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := testOptions()
			options.TermStart = func() time.Time { return time.Unix(tt.termStart, 0) }
			options.Sync.Kinds = maps.Clone(options.Sync.Kinds)
			options.Sync.Kinds["sync.fromHost.events"] = v1alpha1.KindSettings{Enabled: !tt.off}
			host := newShelf(syncer.Host, syncer.Define("pods", Pods(options)).Indexes())
			s := syncer.Scope{Context: t.Context(), Cluster: testCluster(), Host: host}
			virtual := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u", CreationTimestamp: metav1.NewTime(born)}}
			if tt.eventAt != 0 {
				host.putObject(&corev1.Event{
					ObjectMeta:     metav1.ObjectMeta{Namespace: testCluster().Namespace, Name: "e", CreationTimestamp: metav1.Unix(tt.eventAt, 0)},
					InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: hostName(s, "shop", "web")}, Reason: tt.event,
				})
			}
			got, err := newPods(options).load(s, virtual, nil)
			if err != nil {
				t.Fatal(err)
			}
			if state := got.(translate.PodProgress).State; state != tt.want {
				t.Errorf("%s: state %s, want %s", tt.reason, state, tt.want)
			}
		})
	}
}
