// Package app puts the server together. It is the only package that knows all
// parts, and no part knows it.
//
// It reads the config, claims the release on the host, builds the parts and runs them.
// Every replica runs, in this order:
//
//	operator's port → memory → holder → node proxy → control plane → health → DNS
//
// The leader also runs, for each term:
//
//	controllers → Secrets of the release → syncer → foreign usage → virtual scheduler
//
// Parts stop in reverse. If one part needs another, it declares a small interface and
// app fills it in. So the admission of Services calls the syncer, and the API server
// dials the node proxy.
package app
