// Package netpol enforces NetworkPolicies on the node of a local host. It translates them
// into one table of nftables, over addresses of IPv4.
//
// The well-kept engines pass packets to a process through NFQUEUE, or attach programs of
// eBPF to devices. Kernels of small machines have neither, but all of them have nftables.
// The node admits its own processes: kubelet, API server, and the machine behind the
// node's link.
//
// What it leaves out: IPv6, host ports, and connections that exist when a policy changes.
package netpol
