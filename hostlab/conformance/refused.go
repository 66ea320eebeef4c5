package conformance

// refused returns the specs that need what a tenant is refused on purpose: part of the
// spec's name -> reason.
func refused() map[string]string {
	const twoNodes = "The host of package hostlab has one node."
	const handler = "A tenant has no runtime classes of its own: they choose how the host's nodes run pods."
	return map[string]string{
		"should have at least two untainted nodes":                                    twoNodes,
		"should schedule a Pod requesting a RuntimeClass without PodOverhead":         handler,
		"should schedule a Pod requesting a RuntimeClass and initialize its Overhead": handler,
		"Node Lifecycle should run through the lifecycle of a node":                   "A tenant makes no nodes: they show the host's nodes.",
	}
}
