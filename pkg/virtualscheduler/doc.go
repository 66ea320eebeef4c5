// Package virtualscheduler runs a kube-scheduler inside the virtual cluster and
// lets the host have the last word.
//
// The scheduler is the real one, with the profiles that the operator chose. It
// knows the tenant's nodes, with their cordons, taints and labels, and the
// tenant's pods. It does not know how full the host is, or only by the sums of
// package usage, and it must not decide over it. So one plugin is added to every
// profile, and binds in two phases:
//
// The scheduler picks a node. That is the proposal: it is handed to the syncer in
// memory, or, where an attempt has failed before, a claim waits for the host or the
// host takes long, written to status.nominatedNodeName of the virtual pod. The
// syncer makes the host pod, held to that node; the host's own scheduler, quota and
// admission decide. If the host binds its pod, the syncer binds the virtual one to
// the same node, which is what the plugin waits for. If the host refuses, the syncer
// takes the proposal off the virtual pod and writes the host's reason into its
// condition PodScheduled. The plugin then ends the attempt with this reason and
// keeps the pod off that node for a while, longer each time, so that the next node
// is tried.
//
// From the moment on at which there is a host pod, that pod bears the proposal.
// Neither side needs anything that another start of the server could not find in
// the two pods, and the scheduler never binds a pod itself.
// docs/design/009-two-phase-bind.md has the reasons.
package virtualscheduler
