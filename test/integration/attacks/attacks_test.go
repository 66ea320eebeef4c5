package attacks

import "testing"

// TestAttacks runs what a hostile tenant tries against one virtual cluster with the default
// values. Helm turns the fence on by itself where it can ask a host for its version.
func TestAttacks(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]any{"fence": map[string]any{"enabled": true}})
	for name, attack := range map[string]func(*testing.T, *site){
		"Pods": deniedPods, "DebugContainer": deniedDebugContainer, "Bindings": deniedBindings, "Image": refusedImage,
		"Services": deniedServices, "Claims": deniedClaims, "Slices": deniedSlices,
		"Nodes": deniedNodes, "Aggregation": deniedAggregation, "Certificates": deniedCertificates, "NoEffect": warnedKinds,
		"PodFields": harmlessPodFields, "References": harmlessReferences, "AccountToken": harmlessAccountToken, "Marks": harmlessMarks,
		"Names": distinctNames, "ReleaseObjects": untouchedRelease, "HostOnly": droppedSources,
		"Strangers": strangers, "NodeProxy": closedNodeProxy, "HostToken": tokenOnHost, "NodeIdentity": hiddenIdentity, "Account": boundedAccount,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			attack(t, s)
		})
	}
}
