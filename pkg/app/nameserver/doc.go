// Package nameserver runs the DNS of a virtual cluster in pods of its own. While the control
// plane is unavailable, it serves the last known names.
//
// It has a client certificate for the virtual API server, and no credential for the host.
package nameserver
