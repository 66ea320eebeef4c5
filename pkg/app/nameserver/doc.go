// Package nameserver runs the DNS of a virtual cluster in a pod of its own. It answers
// while the control plane is away, with the names that it knew last.
//
// It has a client certificate for the virtual API server, and no credential for the host.
package nameserver
