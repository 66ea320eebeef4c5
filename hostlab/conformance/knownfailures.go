package conformance

// knownFailures returns the specs that need what a tenant is denied on purpose: part of the
// spec's name -> reason.
func knownFailures() map[string]string {
	const twoNodes = "The host of package hostlab has one node."
	const volumes = "A tenant makes no volumes by hand: they can name any disk of the host."
	return map[string]string{
		"should have at least two untainted nodes":                                             twoNodes,
		"Daemon set should rollback without unnecessary restarts":                              twoNodes,
		"PersistentVolumes CSI Conformance should apply changes to a pv/pvc status":            volumes,
		"PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC": volumes,
		"Node Lifecycle should run through the lifecycle of a node":                            "A tenant makes no nodes: they show the host's nodes.",
	}
}
