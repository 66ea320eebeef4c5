// Package exports runs the server with the permissions of the chart. Its tests check what the server writes into
// other namespaces of the host, and into the virtual cluster, as the settings name it.
package exports
