package conformance

// refused returns the specs that need what a tenant is refused on purpose: part of the
// spec's name -> reason.
func refused() map[string]string {
	return map[string]string{
		"Node Lifecycle should run through the lifecycle of a node": "A tenant makes no nodes: they show the host's nodes.",
	}
}
