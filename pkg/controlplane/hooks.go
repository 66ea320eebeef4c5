package controlplane

import (
	"crypto/sha256"
	"fmt"

	flowcontrolrest "k8s.io/kubernetes/pkg/registry/flowcontrol/rest"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"
)

// Hooks of upstream that addressKeeper replaces. If they fail, the first ends the process after a
// minute, and the second waits for ever.
const (
	addressRepairHook = "start-service-ip-repair-controllers"
	serviceRangeHook  = "start-kubernetes-service-cidr-controller"
)

// disabledHooks returns the hooks of upstream that a control plane runs without.
func disabledHooks(c *Config) []string {
	disabled := []string{
		// Both sleep a second before they do anything; see bootstrap.
		rbacrest.PostStartHookName, schedulingrest.PostStartHookName,
		// These end the process, or wait for ever, where the store has what they cannot
		// repair. They are tasks of ours; see startTasks.
		flowcontrolrest.PostStartHookName, addressRepairHook, serviceRangeHook,
		// It takes whatever servers of a tenant send. See aggregatedDiscovery.
		aggregatedDiscoveryHook,
	}
	if c.Replicas <= 1 {
		disabled = append(disabled, replicaHooks()...)
	}
	return disabled
}

// replicaHooks returns the hooks that only several API servers of one cluster need. Feature gates cannot
// disable them, because gates are process-wide and there may be several control planes.
func replicaHooks() []string {
	return []string{
		// A Lease for each API server that lives, and the end of the others.
		"start-kube-apiserver-identity-lease-controller",
		"start-kube-apiserver-identity-lease-garbage-collector",
	}
}

// serverID returns the identity of an API server among its replicas. It is also the name
// of its Lease.
func serverID(name string) string {
	return fmt.Sprintf("apiserver-%x", sha256.Sum256([]byte(name)))[:len("apiserver-")+2*idBytes]
}

// idBytes is how many bytes of a hash tell API servers apart, as upstream has it.
const idBytes = 16
