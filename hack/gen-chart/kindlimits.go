package main

import "github.com/sublet-dev/sublet/pkg/syncer/kinds"

// kindLimits is what of a kind reaches the other side, and what does not.
type kindLimits struct{ passes, refused string }

// limitsOf maps the setting of a kind -> its limits.
func limitsOf() map[string]kindLimits {
	return map[string]kindLimits{
		"sync.toHost.pods": {
			"the whole spec; labels under own keys, some under theirs; annotations of `sync.toHost.pods.annotations`",
			"what `policies.podSecurityStandard` and `policies.pods` forbid, pod groups, resource claims without `sync.toHost.resourceClaims`",
		},
		"sync.toHost.services": {
			"the whole spec, annotations of `policies.services.annotations`",
			"types, addresses, ports and classes that `policies.services` forbids",
		},
		"sync.toHost.endpointSlices": {
			"addresses of the tenant's pods and of `policies.endpoints.allowed`",
			"all other addresses",
		},
		"sync.toHost.configMaps": {"the data", "more and larger objects than `policies.objects` allows"},
		"sync.toHost.secrets":    {"type and data", "more and larger objects than `policies.objects` allows; tokens of service accounts"},
		"sync.toHost.persistentVolumeClaims": {
			"size, access modes, storage class; attributes classes of `policies.volumes.attributesClasses`",
			"classes, sizes and sources that `policies.volumes` forbids, volumes that the tenant makes, " +
				"reclaim policies without `sync.toHost.persistentVolumes`",
		},
		"sync.toHost.volumeSnapshots": {
			"the claim, the class",
			"contents by name, classes that are not shown, snapshots of groups",
		},
		"sync.toHost.networkPolicies": {
			"all rules, for the tenant's own pods",
			"addresses that `policies.networkPolicy.workload` keeps closed, with a warning",
		},
		"sync.toHost.podDisruptionBudgets": {
			"the selector, for own pods; the number that the virtual cluster computes",
			"no budget; one that holds up a drain for `drainTimeoutSeconds` loses its copy",
		},
		"sync.toHost.ingresses": {
			"rules, TLS, backends; annotations of `policies.ingresses.annotations`",
			"host names not in `policies.ingresses.hosts` or of somebody else, backends that are no Service, snippets",
		},
		"sync.toHost.leases":          {"the spec", "Leases of kube-system and kube-node-lease"},
		"sync.toHost.serviceAccounts": {"pull Secrets, annotations of `annotations.allow`", "permissions and tokens of the host, all other annotations"},
		"sync.toHost.resourceClaims": {
			"requests, CEL selectors, constraints; allocation and devices of the status come up",
			"classes that are not shown, `adminAccess`; parameters and tolerations that `policies.devices` does not allow",
		},
		"sync.fromHost.nodes":                 {"what `sync.fromHost.nodes` shows", "changes, but for those that `syncBackChanges` allows and the tenant's own"},
		"sync.fromHost.storageClasses":        {"all but parameters", "changes; claims of a class that is not shown"},
		"sync.fromHost.volumeSnapshotClasses": {"driver, deletion policy, which one is the default", "changes; snapshots of a class that is not shown"},
		"sync.fromHost.runtimeClasses":        {"handler, overhead, scheduling", "changes; pods of a class that is not shown"},
		"sync.fromHost.priorityClasses":       {"value, preemption policy, description", "changes; pods of a class of the host that is not shown get no class there"},
		"sync.fromHost.csiDrivers":            {"the whole spec", "changes"},
		"sync.fromHost.csiNodes":              {"drivers of nodes that are shown, with their limits", "changes"},
		"sync.fromHost.csiStorageCapacities":  {"capacities of classes that are shown", "changes"},
		"sync.fromHost.deviceClasses":         {"selectors, the extended resource", "changes; claims and extended resources of a class that is not shown"},
		"sync.fromHost.resourceSlices":        {"devices of nodes that are shown, and of all nodes", "changes"},
		"sync.fromHost.ingressClasses":        {"the controller, and which one is the default", "changes"},
		"sync.fromHost.configMaps":            {"the data of those that `mappings.byName` names", "changes; all others"},
		"sync.fromHost.secrets":               {"type and data of those that `mappings.byName` names", "changes; all others"},
		"sync.fromHost.events":                {"Events about copies, in the tenant's names", "names and addresses of the host"},
	}
}

// limitCells returns the limits of a row as cells of a table.
func limitCells(row kinds.Row) (passes, refused string) {
	limits := limitsOf()[row.Setting]
	return limits.passes, limits.refused
}
