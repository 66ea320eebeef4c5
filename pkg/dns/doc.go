// Package dns resolves names for the pods of a virtual cluster. Names of Services and
// pods come from the virtual API server. All other names come from the nameservers
// of the control plane's own pod.
//
// It runs CoreDNS in process. A query passes a chain of plugins:
//
//	lookups      fails a query whose names lead back to one another
//	observe      records metrics, logs errors, recovers from panics
//	clients      drops queries of addresses that are none of the cluster's pods, and limits each
//	loadbalance  shuffles the addresses of an answer
//	settings     names of the operator: fixed addresses, other names
//	ownnames     answers a pod with the addresses of its own full name
//	kubernetes   answers for the cluster's domain; passes on an address that
//	             belongs to nothing in the cluster
//	forward      asks nameservers of the operator for their domains
//	outside      hides the names and addresses of the host's cluster
//	cache        caches answers from outside for up to 30 s
//	forward      asks the nameservers outside
//
// In the usual Corefile, cache comes before kubernetes. Here it comes after it: names
// of the cluster are in memory anyway. A lookup before a Service exists must not
// make its name unknown for 30 s.
//
// The chain is built by hand and passed to a CoreDNS server, without Corefile,
// directives or caddy's list of instances. So two servers can run in one process,
// each with its own connection to an API server. Nothing listens for signals, and
// the settings of klog stay. The plugins loop, health and reload are left out: they
// end the process for a loop or an unknown nameserver.
package dns
