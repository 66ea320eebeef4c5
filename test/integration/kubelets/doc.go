// Package kubelets tests the node proxy between two real API servers in one
// process: what a tenant's kubectl sends to the virtual one passes the proxy, then
// the host's API server with exactly the rights that the chart grants, and ends at
// a kubelet that is a few lines.
package kubelets
