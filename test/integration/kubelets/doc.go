// Package kubelets tests the node proxy between two real API servers in one process. What
// a tenant's kubectl sends to the virtual API server passes the proxy and the host's API
// server, with exactly the permissions of the chart. It ends at a kubelet of a few lines.
package kubelets
