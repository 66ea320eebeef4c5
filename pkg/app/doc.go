// Package app is the composition root of sublet-server. It imports every other part of the
// server, and no part imports it.
//
// It reads the config, claims the release on the host, builds the parts and runs them. Every
// replica runs, in this order:
//
//	operator's port → memory → holder → node proxy → control plane → health → DNS
//
// The leader also runs, for each term:
//
//	controllers → Secrets of the release → syncer → foreign usage → virtual scheduler
//
// Parts stop in reverse order. If one part needs another, it declares a small interface that app
// implements. For example, the admission of Services calls the syncer through
// admission.HostFirst, and the API server dials kubelets through the node proxy.
package app
