// Package virtualscheduler runs a kube-scheduler for the virtual cluster and leaves
// the last word to the host.
//
// The scheduler is the real one, with the profiles that the operator chose. It
// knows the tenant's nodes, with their cordons, taints and labels, and the tenant's
// pods. How full the host is it knows only by the sums of package usage, or not at
// all. So one plugin is added to every profile. It binds in two phases:
//
// The scheduler picks a node, which is the proposal. The syncer gets it in memory
// (memoryproposals.go). It is written to the virtual pod in three cases
// (proposal.go). An attempt has failed before, a claim waits for the host, or the host
// takes long.
//
// The syncer creates the host pod, limited to that node, and the host's scheduler,
// quota and admission decide. If the host binds its pod, the syncer binds the
// virtual one to the same node, which ends the plugin's wait (podwaiters.go). If the
// host refuses, the syncer withdraws the proposal and writes the host's reason into
// the condition PodScheduled. The plugin then ends the attempt and keeps the pod off
// that node for a while, longer each time (nodebackoff.go).
//
// Once there is a host pod, it carries the proposal. All state is in the two pods,
// so another start of the server continues where this one stopped. The scheduler
// itself never binds a pod. The reasons are in docs/design/009-two-phase-bind.md.
package virtualscheduler
