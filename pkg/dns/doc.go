// Package dns answers the pods of a virtual cluster: names of Services and pods
// from the virtual API server, all other names from the nameservers that the
// control plane's own pod uses.
//
// It is CoreDNS in process. A query passes a chain of plugins:
//
//	observe      metrics, and errors into the log
//	loadbalance  shuffles the addresses of an answer
//	kubernetes   answers for the cluster's domain; an address that belongs to
//	             nothing in the cluster is passed on
//	cache        keeps what came from outside for up to 30 s
//	forward      asks the nameservers outside
//
// The cache stands behind kubernetes, other than in the usual Corefile: names
// of the cluster are in memory anyway, and a Service that was just made must
// not stay unknown for 30 s because somebody asked too early.
//
// The chain is put together by hand and handed to a CoreDNS server, without
// Corefile, directives or caddy's list of instances. So two of them can live in
// one process, each with its own connection to an API server, nothing listens
// for signals, and klog stays as it was set up. Plugins that make a loop or an
// unknown nameserver the end of the process (loop, health, reload) are left out.
package dns
