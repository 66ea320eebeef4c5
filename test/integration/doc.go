// Package integration tests the syncer between two real API servers in one
// process, without containers and without root. One plays the host, the other the
// virtual cluster; a few lines play the host's scheduler and kubelets.
//
// Both servers are started once for all tests. Each test has a release of its own:
// a host namespace with an anchor, and a virtual namespace that nobody else uses.
package integration
