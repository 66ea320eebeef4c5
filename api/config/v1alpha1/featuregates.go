package v1alpha1

// FeatureGates returns the feature gates of Kubernetes that a virtual cluster can set. Each has its whole effect in the
// virtual API server and its controllers. Gates that need a kubelet are those of the host. Gates of the store,
// of caches and of authentication have no setting.
func FeatureGates() []string {
	return []string{
		// Status of Deployments and ReplicaSets counts terminating pods.
		"DeploymentReplicaSetTerminatingReplicas",
		// A HorizontalPodAutoscaler may have minReplicas 0.
		"HPAScaleToZero",
		// A rolling update of a StatefulSet may stop several pods at once.
		"MaxUnavailableStatefulSet",
		// The resources of a suspended Job's pod template may change.
		"MutablePodResourcesForSuspendedJobs",
		// A StatefulSet may have the update strategy Recreate.
		"StatefulSetRecreateStrategy",
		// IPs and ranges with leading zeros or host bits are invalid in new objects.
		"StrictIPCIDRValidation",
	}
}
