package kinds

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestWaitsForLeavingPod checks when the host is asked about a proposal, and when its
// refusal counts.
func TestWaitsForLeavingPod(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		reason  string
		other   *corev1.Pod
		gone    bool // the virtual pod of the other one
		waiting bool
	}{
		"Full":     {reason: "nothing is about to leave"},
		"Victim":   {reason: "the pod that made room has yet to leave", other: &corev1.Pod{}, gone: true, waiting: true},
		"Deleted":  {reason: "its deletion is under way", other: deletedAt(1020), gone: true, waiting: true},
		"Stuck":    {reason: "its deletion is long due", other: deletedAt(900), gone: true},
		"Finished": {reason: "it takes no room", other: &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodSucceeded}}, gone: true},
		"Neighbor": {reason: "it stays", other: &corev1.Pod{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := testOptions()
			options.VirtualScheduler = true
			indexes := syncer.Define("pods", Pods(options)).Indexes()
			host, virtual := newShelf(syncer.Host, indexes), newShelf(syncer.Virtual, indexes)
			if tt.other != nil {
				tt.other.Spec.NodeName = "a"
				translate.Stamp(testCluster(), translate.Hashed, types.NamespacedName{Namespace: "shop", Name: "other"}, "o", tt.other)
				host.putObject(tt.other)
				if !tt.gone {
					virtual.putObject(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "other", UID: "o"}})
				}
			}
			s := syncer.Scope{Context: t.Context(), Cluster: testCluster(), Host: host, Virtual: virtual, Now: time.Unix(1000, 0)}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u"}, Status: corev1.PodStatus{NominatedNodeName: "a"}}
			refused := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{labels.Place: "a"}}, Status: corev1.PodStatus{
				Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}},
			}}
			translate.Stamp(testCluster(), translate.Hashed, types.NamespacedName{Namespace: "shop", Name: "web"}, "u", refused)
			for want, copied := range map[translate.PodState]*corev1.Pod{translate.PodProposedWritten: nil, translate.PodRefused: refused} {
				if tt.waiting {
					want = translate.PodAwaitingRoom
				}
				got, err := newPods(options).load(s, pod, copied)
				if err != nil {
					t.Fatal(err)
				}
				if state := got.(translate.PodProgress).State; state != want {
					t.Errorf("%s: state %s, want %s", tt.reason, state, want)
				}
			}
		})
	}
}

func deletedAt(second int64) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: new(metav1.Unix(second, 0))}}
}

// TestLeavingPods checks for how long a pod that the host does not delete is waited for.
func TestLeavingPods(t *testing.T) {
	t.Parallel()
	victim := []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{UID: "victim"}}}
	overdue := []*corev1.Pod{deletedAt(-100)}
	l := newLeavingPods()
	for _, tt := range []struct {
		reason       string
		second       int64
		pods         []*corev1.Pod
		waits, quota bool
	}{
		{reason: "nothing was seen"},
		{reason: "the pod has yet to leave", second: 1, pods: victim, waits: true, quota: true},
		{reason: "the host may be about to delete it", second: 11, pods: victim, waits: true, quota: true},
		{reason: "the host does not delete it", second: 12, pods: victim, quota: true},
		{reason: "another one is new", second: 13, pods: append(victim, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "other"}}), waits: true, quota: true},
		{reason: "both have left a moment ago", second: 14, quota: true},
		{reason: "the quota has had time", second: 30},
		{reason: "a pod that was overdue before it was seen excuses no refusal", second: 31, pods: overdue},
		{reason: "nor does it later", second: 32, pods: overdue},
		{reason: "another pod leaves beside it", second: 33, pods: append(overdue, victim...), waits: true, quota: true},
		{reason: "the stuck pod stays, the other one has left a moment ago", second: 35, pods: overdue, quota: true},
		{reason: "the stuck pod excuses no further refusal", second: 39, pods: overdue},
		{reason: "nor does it minutes later", second: 400, pods: overdue},
		{reason: "it has left in the end", second: 401},
	} {
		now := time.Unix(tt.second, 0)
		waits := l.observe("a", tt.pods, now)
		if quota := l.hasLeftRecently("a", now); waits != tt.waits || quota != tt.quota {
			t.Errorf("%s: waits %t, want %t; left recently %t, want %t", tt.reason, waits, tt.waits, quota, tt.quota)
		}
	}
	if len(l.nodes) != 0 {
		t.Errorf("%d nodes are remembered, want none", len(l.nodes))
	}
}
