// Package e2e tests the installed chart on a real node, the way an operator and
// a tenant use it: with helm and kubectl. It needs the build tag e2e and root, or
// a cluster that the current kubeconfig names. `make e2e` does all of it.
package e2e
