// Package egress opens the connections that the virtual API server makes on behalf of a
// tenant. They go to pods and Services through their proxies, to webhooks, to converters
// of custom resources, and to aggregated APIs.
//
// A tenant chooses the destinations of these connections. They start in the pod of the
// control plane, which reaches the host's API server and whatever else the network lets
// it reach. So [Dialer.DialContext] connects only to
//
//   - the address of a pod of this virtual cluster,
//   - an endpoint of a Service of this virtual cluster, if it is such a pod,
//   - an address that the operator of the host has put on a list.
//
// The status of a virtual pod proves nothing, because a tenant can write it. It only names
// the host pod to read. The host pod decides: it must be the copy of the virtual pod
// (translate.Origin), have the address, and not use the network of its node.
//
// The check is about the address that is then dialled. A name is resolved once. Loopback,
// link-local and multicast addresses are never dialled, and neither is the host's API
// server or the process itself, whatever is on a list.
package egress
