// Package app puts the server together: it is the only package that knows all
// parts, and no part knows it.
//
// It reads the config, learns from the host who the virtual cluster is, builds
// the parts and runs them in this order, stopping in reverse:
//
//	node proxy → control plane → kubeconfig → syncer → DNS
//
// Where one part needs another (the admission of Services asks the syncer, the
// API server dials the node proxy), the part declares a small interface and app
// fills it in.
package app
