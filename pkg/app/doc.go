// Package app is the composition root of sublet-server. It imports every other part of the
// server, and no part imports it.
//
// It reads the config, claims the release on the host, builds the parts and runs them, after the
// operator's port. Each of these runs only if the settings or the store need it. Every replica
// runs, in this order:
//
//	memory → holder → node proxy → issuers of tokens → certificate for other members → control plane →
//	destinations → health → record of the store → socket of the store → fence of the store →
//	definitions → DNS → DNS clients → members of the store → address → Secrets of the release →
//	replicas → standby → rate of requests
//
// The leader also runs, for each term:
//
//	autoscaling → backups → record of the leader → controllers → encryption →
//	collector of finished pods → roles of exported accounts → syncing → manifests
//
// Syncing consists of:
//
//	syncer → limits → foreign usage → virtual scheduler → definitions → custom resources
//
// Parts stop in reverse order. If one part needs another, it declares a small interface that app
// implements. For example, the admission of Services calls the syncer through
// admission.HostFirst, and the API server dials kubelets through the node proxy.
package app
