package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// PodState is the state of a pod on both sides. docs/design/009-two-phase-bind.md has a table of
// all states, with who acts next and what a crash leaves.
type PodState string

const (
	// PodGone has neither a virtual nor a host pod.
	PodGone PodState = "Gone"
	// PodOrphaned has a host pod without a virtual pod.
	PodOrphaned PodState = "Orphaned"
	// PodNotSynced is a mirror pod, which never has a host pod.
	PodNotSynced PodState = "NotSynced"
	// PodReplaced has the host pod of an earlier virtual pod of its name.
	PodReplaced PodState = "Replaced"
	// PodTerminating has a deletionTimestamp.
	PodTerminating PodState = "Terminating"
	// PodFinished has Succeeded or Failed.
	PodFinished PodState = "Finished"
	// PodAsleep has a node, and Sublet has removed its host pod on purpose.
	PodAsleep PodState = "Asleep"
	// PodEvicted has started, and the host has deleted its host pod or is deleting it.
	PodEvicted PodState = "Evicted"
	// PodGated has scheduling gates of the tenant.
	PodGated PodState = "Gated"
	// PodNoCopy needs a host pod and has none.
	PodNoCopy PodState = "NoCopy"
	// PodUnassigned waits for the virtual scheduler to pick a node.
	PodUnassigned PodState = "Unassigned"
	// PodProposedInMemory has a proposal that is not written.
	PodProposedInMemory PodState = "ProposedInMemory"
	// PodProposedWritten has a proposal in its status.
	PodProposedWritten PodState = "ProposedWritten"
	// PodAwaitingRoom has a proposal for a node on which a host pod of the tenant is still
	// terminating. Its host pod is created after that.
	PodAwaitingRoom PodState = "AwaitingRoom"
	// PodUnschedulable has a reason in its status why it has no node. The virtual
	// scheduler must clear it first.
	PodUnschedulable PodState = "Unschedulable"
	// PodSeeksRoom has been unschedulable for a while. Its host pod signals to autoscalers of
	// the host that a node is missing.
	PodSeeksRoom PodState = "SeeksRoom"
	// PodPinnedOutdated has a host pod that is pinned to another node than the assigned one, or
	// that was created under other settings.
	PodPinnedOutdated PodState = "PinnedOutdated"
	// PodWaiting has a host pod that the host has not bound yet.
	PodWaiting PodState = "Waiting"
	// PodRefused has a pinned host pod for which the host has no room.
	PodRefused PodState = "Refused"
	// PodRejected has failed because a host port is taken on the node that the tenant has set.
	// Its host pod must not run.
	PodRejected PodState = "Rejected"
	// PodBoundOnHost has a host pod with a node, and no node itself.
	PodBoundOnHost PodState = "BoundOnHost"
	// PodBound has a node on both sides.
	PodBound PodState = "Bound"
	// PodRunning runs.
	PodRunning PodState = "Running"
)

// PodProgressInput has everything that the state of a pod depends on.
type PodProgressInput struct {
	// Virtual and Host are the two sides, nil for none.
	Virtual, Host *corev1.Pod
	// VirtualScheduler reports whether the virtual scheduler assigns the pod's node.
	VirtualScheduler bool
	// MemoryProposal is the node that the virtual scheduler proposes in memory, empty
	// for none.
	MemoryProposal string
	// HasRun reports whether the host has a trace of a host pod that got a node and is
	// gone. It counts where both pods show nothing of that.
	HasRun bool
	// Leaving reports whether the host pod of a deleted virtual pod is still terminating on the
	// assigned node. The virtual scheduler has already reused its resources; the host has not.
	Leaving bool
	// SeeksRoom reports whether an unschedulable pod has waited long enough to signal that to
	// the host.
	SeeksRoom bool
	// OtherRules reports whether the host pod was created under other rules than the current
	// ones, see [HostRules] and [IsGateOutdated].
	OtherRules bool
}

// PodProgress is the state of a pod, read once per reconcile.
type PodProgress struct {
	// State is the state. It is empty if the progress was not computed.
	State PodState
	// Proposal is the node that the virtual scheduler proposes for a pod without a node,
	// written or in memory. Empty if there is none.
	Proposal string
	// Node is the node to which the host pod is pinned. Empty if the host chooses one, or
	// as long as none is assigned.
	Node string
	// NeedsHostPod reports whether the pod needs its host pod, or a new one.
	NeedsHostPod bool
}

// ReadPodProgress computes the state of a pod from both sides and the proposal.
func ReadPodProgress(in PodProgressInput) PodProgress {
	var p PodProgress
	p.Proposal, p.Node = in.assignedNode()
	p.State = in.state(p.Node)
	switch p.State {
	case PodNoCopy, PodProposedInMemory, PodProposedWritten, PodWaiting, PodRefused,
		PodBoundOnHost, PodBound, PodRunning, PodAsleep, PodEvicted, PodSeeksRoom:
		p.NeedsHostPod = true
	case PodGated:
		p.NeedsHostPod = !in.VirtualScheduler // The copy has the gates, too.
	case PodFinished, PodTerminating:
		p.NeedsHostPod = in.Host != nil // It must not run again.
	case PodGone, PodOrphaned, PodNotSynced, PodReplaced, PodUnassigned, PodUnschedulable, PodPinnedOutdated, PodAwaitingRoom, PodRejected:
	}
	return p
}

// assignedNode returns the proposal, and the node to which the host pod must be pinned. Without a
// proposal, such as after a restart, that is the node to which it is pinned already.
func (in *PodProgressInput) assignedNode() (proposal, node string) {
	virtual := in.Virtual
	switch {
	case virtual == nil || !in.VirtualScheduler:
		return "", ""
	case virtual.Spec.NodeName != "":
		return "", virtual.Spec.NodeName
	case IsUnschedulable(virtual):
		return "", ""
	}
	proposal = Proposed(virtual)
	if proposal == "" {
		proposal = in.MemoryProposal
	}
	if proposal == "" && in.Host != nil {
		return "", PinnedNode(in.Host)
	}
	return proposal, proposal
}

// state returns the state of a pod with an assigned node, empty for none.
func (in *PodProgressInput) state(node string) PodState {
	virtual, host := in.Virtual, in.Host
	switch {
	case virtual == nil:
		return stateWithoutVirtualPod(host)
	case isMirror(virtual):
		return PodNotSynced
	case host != nil && host.Annotations[labels.VirtualUID] != string(virtual.UID):
		return PodReplaced
	case virtual.DeletionTimestamp != nil:
		return PodTerminating
	case host == nil:
		return in.stateWithoutHostPod()
	case isRejected(virtual) && !IsFinished(host):
		return PodRejected
	case hasFinished(virtual, host):
		return PodFinished
	case host.Spec.NodeName != "":
		return stateOnNode(virtual, host)
	default:
		return in.stateOfPending(node)
	}
}

// hasFinished reports whether the host pod is finished, or the virtual pod is and had a node.
func hasFinished(virtual, host *corev1.Pod) bool {
	return IsFinished(host) || IsFinished(virtual) && host.Spec.NodeName != ""
}

// stateWithoutVirtualPod returns the state of a pod that has no virtual pod.
func stateWithoutVirtualPod(host *corev1.Pod) PodState {
	if host == nil {
		return PodGone
	}
	return PodOrphaned
}

// stateWithoutHostPod returns the state of a pod that has no host pod.
func (in *PodProgressInput) stateWithoutHostPod() PodState {
	virtual := in.Virtual
	switch {
	case IsFinished(virtual):
		return PodFinished
	case virtual.Spec.NodeName != "" && virtual.Annotations[labels.Removed] == string(virtual.UID):
		return PodAsleep
	case HasStarted(virtual, nil, in.VirtualScheduler), in.HasRun:
		return PodEvicted
	case !in.VirtualScheduler, virtual.Spec.NodeName != "":
		return PodNoCopy
	case len(virtual.Spec.SchedulingGates) > 0:
		return PodGated
	case IsUnschedulable(virtual):
		return in.unschedulableState()
	case Proposed(virtual) == "" && in.MemoryProposal == "":
		return PodUnassigned
	case in.Leaving:
		return PodAwaitingRoom
	case Proposed(virtual) != "":
		return PodProposedWritten
	}
	return PodProposedInMemory
}

// stateOfPending returns the state of a pod whose host pod has no node yet.
func (in *PodProgressInput) stateOfPending(node string) PodState {
	virtual, host := in.Virtual, in.Host
	switch {
	case in.VirtualScheduler && virtual.Spec.NodeName == "" && IsUnschedulable(virtual):
		return in.unschedulableState()
	case in.isOutdated(node):
		return PodPinnedOutdated
	case len(virtual.Spec.SchedulingGates) > 0:
		return PodGated
	case in.VirtualScheduler && virtual.Spec.NodeName == "" && isUnschedulableOnHost(host):
		if in.Leaving {
			return PodAwaitingRoom
		}
		return PodRefused
	}
	return PodWaiting
}

// isOutdated reports whether a host pod without a node differs from the one that would be created
// now, so that it must be replaced.
func (in *PodProgressInput) isOutdated(node string) bool {
	if in.VirtualScheduler {
		return node == "" || PinnedNode(in.Host) != node || in.OtherRules
	}
	return PinnedNode(in.Host) != "" || in.OtherRules || seeksRoom(in.Host) || !isLimitedTo(in.Host, in.Virtual.Spec.NodeName)
}

// isLimitedTo reports whether a host pod can only be scheduled to node, or node is empty. It cannot
// be so if the tenant has bound the pod after the host pod was created. One that was created for
// the node is not looked at: admission of the host may have given it another form.
func isLimitedTo(host *corev1.Pod, node string) bool {
	if node == "" || host.Annotations[labels.LimitedTo] == node {
		return true
	}
	if host.Spec.Affinity == nil || host.Spec.Affinity.NodeAffinity == nil {
		return false
	}
	required := host.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	isOther := func(term corev1.NodeSelectorTerm) bool {
		isEmpty := len(term.MatchFields)+len(term.MatchExpressions) == 0
		return !isEmpty && !slices.ContainsFunc(term.MatchFields, func(r corev1.NodeSelectorRequirement) bool {
			return r.Key == nodeNameField && r.Operator == corev1.NodeSelectorOpIn && slices.Equal(r.Values, []string{node})
		})
	}
	return required != nil && !slices.ContainsFunc(required.NodeSelectorTerms, isOther)
}

// unschedulableState returns the state of a pod for which the virtual scheduler finds no node. A
// pinned host pod is deleted before the pod can seek room.
func (in *PodProgressInput) unschedulableState() PodState {
	if in.SeeksRoom && (in.Host == nil || seeksRoom(in.Host) && !in.OtherRules) {
		return PodSeeksRoom
	}
	return PodUnschedulable
}

// stateOnNode returns the state of a pod whose host pod has a node.
func stateOnNode(virtual, host *corev1.Pod) PodState {
	switch {
	case host.DeletionTimestamp != nil:
		return PodEvicted
	case virtual.Spec.NodeName == "":
		return PodBoundOnHost
	case host.Status.Phase == corev1.PodRunning:
		return PodRunning
	}
	return PodBound
}

// HasStarted reports whether a pod was bound on the host and so may have run. host is its host
// pod, or the last known state of that. The node name of the virtual pod proves nothing, because
// the tenant may have set it or bound the pod. Without a virtual scheduler, the syncer marks the
// pods that it binds.
func HasStarted(virtual, host *corev1.Pod, virtualScheduler bool) bool {
	if host != nil && host.Spec.NodeName != "" || virtual.Status.StartTime != nil {
		return true
	}
	uid, ok := virtual.Annotations[labels.Bound]
	return !virtualScheduler && virtual.Spec.NodeName != "" && ok && uid == string(virtual.UID)
}

// isMirror reports whether a pod is a mirror pod.
func isMirror(virtual *corev1.Pod) bool {
	_, ok := virtual.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}
