// Package kubeletmetrics serves the metrics of a kubelet through the proxy of a virtual
// node: stats/summary, metrics/resource, metrics/cadvisor and metrics/probes.
//
// The virtual API server authenticates and authorizes the request, as for any proxy of a
// node. [Handler.Wrap] then asks the kubelet of the host's node of that name. It returns the
// part that is about the tenant's pods. The request of the tenant
// goes nowhere. Path and query of the one to the kubelet are from a list.
//
// What passes is listed, what is unknown is left out. A series passes if it is about a
// container of a virtual pod, and has only labels that are known. Names, UIDs and images
// are those of virtual objects. Numbers of the whole node are left out, as others use it
// too. Where a sum has a meaning, it is the sum of the tenant's pods.
//
// The address of a kubelet is from the host's node, never from the virtual one. The request
// has the token of the control plane, which needs permission for nodes/metrics and
// nodes/stats on the host. It does not need nodes/proxy, which permits to run commands in
// any pod of the host.
//
// Nothing is requested until somebody asks. An answer serves everybody for a few seconds,
// and then its memory is free.
package kubeletmetrics
