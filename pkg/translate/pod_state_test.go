package translate

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// A podChange changes a pod of a test.
type podChange func(*corev1.Pod)

func onNode(node string) podChange { //nolint:unparam // it reads as the others do
	return func(p *corev1.Pod) { p.Spec.NodeName = node }
}

func nominated(node string) podChange {
	return func(p *corev1.Pod) { p.Status.NominatedNodeName = node }
}

func unscheduled(reason string) podChange {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason}}
	}
}

func inPhase(phase corev1.PodPhase) podChange { return func(p *corev1.Pod) { p.Status.Phase = phase } }

func annotated(key, value string) podChange {
	return func(p *corev1.Pod) { p.Annotations = mergeMaps(p.Annotations, map[string]string{key: value}) }
}

func terminatingPod(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }

func withStart(p *corev1.Pod) { p.Status.StartTime = &metav1.Time{Time: time.Unix(1, 0)} }

func withGate(p *corev1.Pod) {
	p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "quota"}}
	unscheduled(corev1.PodReasonSchedulingGated)(p)
}

func changed(pod *corev1.Pod, changes ...podChange) *corev1.Pod {
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func virtualPod(changes ...podChange) *corev1.Pod {
	return changed(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "one"}}, changes...)
}

func hostPod(changes ...podChange) *corev1.Pod {
	return changed(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{labels.VirtualUID: "one"}}}, changes...)
}

func pinned(node string) podChange { return annotated(labels.Place, node) }

// virtualPods returns virtual pods that differ in all that the state depends on.
func virtualPods() map[string]*corev1.Pod {
	return map[string]*corev1.Pod{
		"none": nil, "new": virtualPod(), "mirror": virtualPod(annotated(corev1.MirrorPodAnnotationKey, "x")), "gated": virtualPod(withGate),
		"proposed a": virtualPod(nominated("a")), "proposed b": virtualPod(nominated("b")),
		"proposed again": virtualPod(nominated("a"), unscheduled(WaitingForHost)),
		"unschedulable":  virtualPod(unscheduled(corev1.PodReasonUnschedulable)),
		"preempting":     virtualPod(nominated("a"), unscheduled(corev1.PodReasonUnschedulable)),
		"bound a":        virtualPod(onNode("a")), "bound by the syncer": virtualPod(onNode("a"), annotated(labels.Bound, "one")),
		"started": virtualPod(onNode("a"), withStart), "started without a node": virtualPod(withStart),
		"finished": virtualPod(onNode("a"), withStart, inPhase(corev1.PodFailed)), "finished early": virtualPod(inPhase(corev1.PodFailed)),
		"rejected":    virtualPod(onNode("a"), inPhase(corev1.PodFailed), func(p *corev1.Pod) { p.Status.Reason = nodePorts }),
		"terminating": virtualPod(terminatingPod), "asleep": virtualPod(onNode("a"), withStart, annotated(labels.Removed, "one")),
	}
}

// hostPods returns host pods that differ in all that the state depends on.
func hostPods() map[string]*corev1.Pod {
	return map[string]*corev1.Pod{
		"none": nil, "of another": hostPod(annotated(labels.VirtualUID, "two")), "free": hostPod(), "pinned a": hostPod(pinned("a")),
		"pinned b":  hostPod(pinned("b")),
		"refused a": hostPod(pinned("a"), unscheduled(corev1.PodReasonUnschedulable)), "unschedulable": hostPod(unscheduled(corev1.PodReasonUnschedulable)),
		"bound": hostPod(pinned("a"), onNode("a")), "running": hostPod(onNode("a"), inPhase(corev1.PodRunning)),
		"deleted": hostPod(onNode("a"), terminatingPod), "deleted early": hostPod(pinned("a"), terminatingPod),
		"finished": hostPod(onNode("a"), inPhase(corev1.PodSucceeded)),
		"seeking":  hostPod(func(p *corev1.Pod) { p.Spec.SchedulerName = roomScheduler }),
	}
}

// TestEveryPodHasAState reads the state of every combination of both pods, the setting and
// the proposal in memory. Each state is reached. TestTablesOfStates reads the tables of them.
func TestEveryPodHasAState(t *testing.T) {
	t.Parallel()
	reached := map[PodState]bool{}
	for virtualName, virtual := range virtualPods() {
		for hostName, host := range hostPods() {
			for _, scheduler := range []bool{false, true} {
				for _, in := range memories() {
					in.Virtual, in.Host, in.VirtualScheduler = virtual, host, scheduler
					p := ReadPodProgress(in)
					reached[p.State] = true
					combination := virtualName + " / " + hostName
					if !slices.Contains(allPodStates(), p.State) {
						t.Fatalf("%s (scheduler %t, memory %q): state %q has no rows in the tables", combination, scheduler, in.MemoryProposal, p.State)
					}
					checkProgress(t, combination, scheduler, host, p)
				}
			}
		}
	}
	for _, state := range allPodStates() {
		if !reached[state] {
			t.Errorf("no combination of inputs leads to %s", state)
		}
	}
}

// memories returns every combination of what the state depends on besides both pods and the scheduler.
func memories() []PodProgressInput {
	var all []PodProgressInput
	both := []bool{false, true}
	for _, proposal := range []string{"", "a", "b"} {
		for _, hasRun := range both {
			for _, leaving := range both {
				for _, seeks := range both {
					all = append(all, PodProgressInput{MemoryProposal: proposal, HasRun: hasRun, Leaving: leaving, SeeksRoom: seeks})
				}
			}
		}
	}
	return all
}

func allPodStates() []PodState {
	return []PodState{
		PodGone, PodOrphaned, PodNotSynced, PodReplaced, PodTerminating, PodFinished, PodAsleep, PodEvicted, PodGated, PodNoCopy,
		PodUnassigned, PodProposedInMemory, PodProposedWritten, PodUnschedulable, PodPinnedOutdated, PodAwaitingRoom, PodSeeksRoom,
		PodWaiting, PodRefused, PodRejected, PodBoundOnHost, PodBound, PodRunning,
	}
}

// checkProgress checks what holds for a pod in every state.
func checkProgress(t *testing.T, combination string, scheduler bool, host *corev1.Pod, p PodProgress) {
	t.Helper()
	isNew := p.NeedsHostPod && host == nil && p.State != PodEvicted && p.State != PodAsleep && p.State != PodSeeksRoom
	if isNew && scheduler && p.Node == "" {
		t.Errorf("%s: a host pod would be created without a pin, in state %s", combination, p.State)
	}
	if !scheduler && (p.Node != "" || p.Proposal != "") {
		t.Errorf("%s: nothing is pinned without a virtual scheduler, got %q", combination, p.Node)
	}
	if p.NeedsHostPod && host != nil && host.Spec.NodeName == "" && p.State == PodWaiting && PinnedNode(host) != p.Node {
		t.Errorf("%s: an outdated host pod stays: pinned to %q, wanted %q", combination, PinnedNode(host), p.Node)
	}
}

func TestPodProgress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason        string
		virtual, host string
		free          bool // without a virtual scheduler
		memory        string
		traces        bool // what HasRun and Leaving are
		room          bool // what SeeksRoom is
		rules         bool // what OtherRules is
		want          PodProgress
	}{
		{reason: "the host schedules it", virtual: "new", host: "none", free: true, want: PodProgress{State: PodNoCopy, NeedsHostPod: true}},
		{reason: "the copy has the gates", virtual: "gated", host: "free", free: true, want: PodProgress{State: PodGated, NeedsHostPod: true}},
		{reason: "the host's scheduler retries", virtual: "new", host: "unschedulable", free: true, want: PodProgress{State: PodWaiting, NeedsHostPod: true}},
		{reason: "it was created for a virtual scheduler", virtual: "new", host: "pinned a", free: true, want: PodProgress{State: PodPinnedOutdated}},
		{reason: "the tenant has bound it, and it could get to another node", virtual: "bound a", host: "free", free: true, want: PodProgress{State: PodPinnedOutdated}},
		{reason: "nobody runs its scheduler any more", virtual: "unschedulable", host: "seeking", free: true, want: PodProgress{State: PodPinnedOutdated}},
		{reason: "the operator has other rules now", virtual: "new", host: "free", free: true, rules: true, want: PodProgress{State: PodPinnedOutdated}},
		{reason: "an autoscaler reads the rules of now", virtual: "unschedulable", host: "seeking", room: true, rules: true, want: PodProgress{State: PodUnschedulable}},
		{reason: "what the host has bound stays", virtual: "new", host: "bound", free: true, rules: true, want: PodProgress{State: PodBoundOnHost, NeedsHostPod: true}},
		{reason: "it waits for the scheduler", virtual: "new", host: "none", want: PodProgress{State: PodUnassigned}},
		{reason: "no scheduler looks at it", virtual: "gated", host: "none", memory: "a", want: PodProgress{State: PodGated}},
		{
			reason: "a proposal", virtual: "new", host: "none", memory: "a",
			want: PodProgress{State: PodProposedInMemory, Proposal: "a", Node: "a", NeedsHostPod: true},
		},
		{
			reason: "a written proposal wins", virtual: "proposed b", host: "none", memory: "a",
			want: PodProgress{State: PodProposedWritten, Proposal: "b", Node: "b", NeedsHostPod: true},
		},
		{reason: "the pin is the proposal after a restart", virtual: "new", host: "pinned b", want: PodProgress{State: PodWaiting, Node: "b", NeedsHostPod: true}},
		{
			reason: "the scheduler has picked another node", virtual: "new", host: "pinned a", memory: "b",
			want: PodProgress{State: PodPinnedOutdated, Proposal: "b", Node: "b"},
		},
		{
			reason: "the host has no room", virtual: "proposed again", host: "refused a",
			want: PodProgress{State: PodRefused, Proposal: "a", Node: "a", NeedsHostPod: true},
		},
		{
			reason: "the host was asked too early", virtual: "proposed again", host: "refused a", traces: true,
			want: PodProgress{State: PodAwaitingRoom, Proposal: "a", Node: "a"},
		},
		{reason: "the host has run it", virtual: "new", host: "none", free: true, traces: true, want: PodProgress{State: PodEvicted, NeedsHostPod: true}},
		{reason: "it never runs again", virtual: "finished early", host: "none", traces: true, want: PodProgress{State: PodFinished}},
		{reason: "the reason ends the proposal", virtual: "unschedulable", host: "refused a", want: PodProgress{State: PodUnschedulable}},
		{reason: "the scheduler makes room first", virtual: "preempting", host: "none", memory: "a", want: PodProgress{State: PodUnschedulable}},
		{reason: "the host learns of the need", virtual: "unschedulable", host: "none", room: true, want: PodProgress{State: PodSeeksRoom, NeedsHostPod: true}},
		{reason: "it still needs a node", virtual: "unschedulable", host: "seeking", room: true, want: PodProgress{State: PodSeeksRoom, NeedsHostPod: true}},
		{reason: "a pin goes first", virtual: "unschedulable", host: "refused a", room: true, want: PodProgress{State: PodUnschedulable}},
		{
			reason: "a node is proposed", virtual: "proposed again", host: "seeking",
			want: PodProgress{State: PodPinnedOutdated, Proposal: "a", Node: "a"},
		},
		{reason: "the tenant has bound it", virtual: "bound a", host: "seeking", want: PodProgress{State: PodPinnedOutdated, Node: "a"}},
		{reason: "what the host has bound stays", virtual: "unschedulable", host: "bound", want: PodProgress{State: PodBoundOnHost, NeedsHostPod: true}},
		{reason: "the tenant has bound it", virtual: "bound a", host: "none", want: PodProgress{State: PodNoCopy, Node: "a", NeedsHostPod: true}},
		{reason: "it must not run twice", virtual: "started", host: "none", want: PodProgress{State: PodEvicted, Node: "a", NeedsHostPod: true}},
		{reason: "the host drains its node", virtual: "started", host: "deleted", want: PodProgress{State: PodEvicted, Node: "a", NeedsHostPod: true}},
		{reason: "its host pod comes back", virtual: "asleep", host: "none", free: true, want: PodProgress{State: PodAsleep, NeedsHostPod: true}},
		{reason: "it never runs again", virtual: "finished", host: "none", want: PodProgress{State: PodFinished, Node: "a"}},
		{reason: "it must not run", virtual: "rejected", host: "unschedulable", free: true, want: PodProgress{State: PodRejected}},
		{reason: "the host has bound it meanwhile", virtual: "rejected", host: "running", free: true, want: PodProgress{State: PodRejected}},
		{reason: "no host pod is created again", virtual: "rejected", host: "none", free: true, want: PodProgress{State: PodFinished}},
		{reason: "its host pod is another's", virtual: "new", host: "of another", free: true, want: PodProgress{State: PodReplaced}},
	} {
		got := ReadPodProgress(PodProgressInput{
			Virtual: virtualPods()[c.virtual], Host: hostPods()[c.host], VirtualScheduler: !c.free, MemoryProposal: c.memory,
			HasRun: c.traces, Leaving: c.traces, SeeksRoom: c.room, OtherRules: c.rules,
		})
		if got != c.want {
			t.Errorf("%s / %s: %s: got %+v, want %+v", c.virtual, c.host, c.reason, got, c.want)
		}
	}
}

func TestNoHostPodWithoutPin(t *testing.T) {
	t.Parallel()
	in := input()
	in.VirtualScheduler = true
	host := &corev1.Pod{}
	Stamp(in.Cluster, Hashed, keyOf("shop", "web"), "one", host)
	if err := Pod(in, webPod(), host); err == nil || !strings.Contains(err.Error(), "no assigned node") {
		t.Errorf("a host pod without a pin must not be built, got %v", err)
	}
}
