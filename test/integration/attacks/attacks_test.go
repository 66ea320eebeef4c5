package attacks

import "testing"

// fenced returns the values of a release with the fence. Helm turns it on by itself where it
// can ask a host for its version.
func fenced() map[string]any {
	return map[string]any{"policies": map[string]any{"fence": map[string]any{"enabled": true}}}
}

// TestAttacks runs what a hostile tenant tries against one virtual cluster with the default
// values.
func TestAttacks(t *testing.T) {
	t.Parallel()
	attackAll(t, installSite(t, "", fenced()))
}

// TestAttacksOnRestricted runs the same where the host's namespace enforces the standard
// restricted, which is stricter than the default of the policies.
func TestAttacksOnRestricted(t *testing.T) {
	t.Parallel()
	s := installSite(t, "restricted", fenced())
	s.awaitFence(t)
	t.Run("Baseline", func(t *testing.T) {
		t.Parallel()
		refusedBaseline(t, s)
	})
	attackAll(t, s)
}

// attackAll runs all attacks as subtests.
func attackAll(t *testing.T, s *site) {
	t.Helper()
	s.awaitFence(t) // It denies images too.
	for name, attack := range map[string]func(*testing.T, *site){
		"Pods": deniedPods, "DebugContainer": deniedDebugContainer, "Bindings": deniedBindings, "Image": refusedImage,
		"Services": deniedServices, "MarkedServices": deniedMarkedServices, "ExternalNames": uncopiedNames, "Balancers": unservedBalancers,
		"Claims": deniedClaims, "Slices": deniedSlices, "StaleAddress": removedAddress, "Queues": deniedQueues, "Replicas": deniedReplicas, "ScheduleTime": deniedScheduleTime, "Costs": deniedCosts,
		"Nodes": deniedNodes, "CopyAdmission": untouchedCopies, "AlteredWrites": evaluatedAlterations, "Aggregation": deniedAggregation, "Certificates": deniedCertificates, "NoEffect": warnedKinds,
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
