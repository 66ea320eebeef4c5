package kinds

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// Table returns every kind that Sublet can sync, in the order of the documentation.
//
// A new kind is one row here, one file with its [syncer.Resource] and its golden cases.
// Its name, owner, scope, settings, permissions and documentation are derived from them.
func Table() []Row { return slices.Concat(toHost(), fromHost()) }

// toHost returns the kinds of the tenant's objects.
func toHost() []Row {
	return []Row{
		row("sync.toHost.pods", Always, "The tenant's pods, their tokens, certificates and variables of Services. The host runs them and returns their status.", Pods).
			includes(define("tokens", Tokens)).
			includes(define("servicelinks", ServiceLinks)).
			includes(define("trustbundles", TrustBundles)).
			includes(define("podcertificates", PodCertificates)).
			ownsKeys("labels", "annotations").
			refers(&corev1.Pod{}, podRefs).
			permits(rule(patch(), "", "pods/ephemeralcontainers", "pods/resize", "pods/status")),
		row("sync.toHost.services", On, "The tenant's Services. The host assigns addresses and node ports before they are stored.", Services).
			includes(define("exposedservices", ExposedServices)).
			ownsKeys("annotations").
			ifOff("pods reach each other by IP only"),
		row("sync.toHost.endpointSlices", On, "EndpointSlices that the tenant writes. The host creates those of selectors itself.", EndpointSlices),
		row("sync.toHost.configMaps", On, "The tenant's ConfigMaps that a pod refers to, or all of them.", ConfigMaps).
			ifOff("a pod that refers to one does not start"),
		row("sync.toHost.secrets", On, "The tenant's Secrets that a pod refers to, or all of them.", Secrets).
			ifOff("a pod that refers to one does not start"),
		row("sync.toHost.persistentVolumeClaims", On, "The tenant's claims, and the volumes that they are bound to. The host provides the volumes.",
			PersistentVolumeClaims).includes(define("persistentvolumes", PersistentVolumes)).
			permitsIf("sync.toHost.persistentVolumes.enabled", rule([]string{"get", "patch"}, "", "persistentvolumes")).keepsCopies(),
		row("sync.toHost.volumeSnapshots", Off, "The tenant's snapshots of its claims, and their contents. Drivers of the host take them.", VolumeSnapshots).
			includes(define("volumesnapshotcontents", VolumeSnapshotContents)).
			includes(define("snapshotevents", SnapshotEvents)).
			keepsCopies(),
		row("sync.toHost.networkPolicies", On, "The tenant's NetworkPolicies, confined to the tenant's pods. The network of the host enforces them, if it enforces any.",
			NetworkPolicies).
			ifOff("a NetworkPolicy of the tenant has no effect"),
		row("sync.toHost.podDisruptionBudgets", On, "The tenant's PodDisruptionBudgets, with the number of pods that the virtual cluster computes. Drains of host nodes ask them.",
			PodDisruptionBudgets).
			permits(rule([]string{"create"}, "", "pods/eviction")).
			ifOff("only evictions through the virtual API respect a budget"),
		row("sync.toHost.ingresses", Off, "The tenant's Ingresses, with the host names that the operator allows. Controllers of the host serve them.", Ingresses).
			ownsKeys("annotations").
			refers(&networkingv1.Ingress{}, ingressRefs).
			permitsIf("policies.ingresses.uniqueHosts", rule([]string{"list"}, "networking.k8s.io", "ingresses")),
		row("sync.toHost.leases", Off, "The tenant's Leases outside of kube-system and kube-node-lease. Each renewal is a write to the host.", Leases),
		row("sync.toHost.serviceAccounts", Off, "The tenant's service accounts. Pods run as the copies, which have no permissions.", ServiceAccounts).
			ownsKeys("annotations").
			refers(&corev1.ServiceAccount{}, accountRefs),
		row(policy.ResourceClaimsSetting, Off, "The tenant's ResourceClaims, also those that are made from templates. The host allocates devices.",
			ResourceClaims),
	}
}

// fromHost returns the kinds of the host's objects.
func fromHost() []Row {
	return []Row{
		row("sync.fromHost.nodes", On, "The host's nodes, all of them or a selection, with what a tenant adds to them.", RealNodes).
			instead(define("pseudonodes", PseudoNodes)).
			ownsKeys("selector").
			ifOff("nodes that run the tenant's pods appear as pseudo nodes").
			permitsIf("sync.fromHost.nodes.syncBackChanges", rule(patch(), "", "nodes")),
		row("sync.fromHost.storageClasses", On, "The host's storage classes, without their parameters.", StorageClasses),
		row("sync.fromHost.volumeSnapshotClasses", Off, "The host's snapshot classes, without their parameters. Snapshots may name those that are shown.",
			VolumeSnapshotClasses).forgetsCopies(),
		row("sync.fromHost.runtimeClasses", Off, "The host's runtime classes. Pods may name those that are shown.", RuntimeClasses),
		row("sync.fromHost.priorityClasses", Off, "The host's priority classes. Pods that name one that is shown have it on the host.", PriorityClasses),
		row("sync.fromHost.csiDrivers", Off, "The host's CSI drivers. The virtual scheduler reads which of them count capacity.", CSIDrivers).forgetsCopies(),
		row("sync.fromHost.csiNodes", Off, "The CSI drivers of the nodes that are shown. The virtual scheduler reads the limits of volumes.", CSINodes).forgetsCopies(),
		row("sync.fromHost.csiStorageCapacities", Off, "The capacities of the storage classes that are shown, in kube-system. The virtual scheduler reads them.",
			CSIStorageCapacities).forgetsCopies(),
		row(policy.DeviceClassesSetting, Off, "The host's device classes, without their parameters. Claims may name those that are shown.",
			DeviceClasses).forgetsCopies(),
		row("sync.fromHost.resourceSlices", Off, "The devices of the nodes that are shown. The virtual scheduler reads them.", ResourceSlices).forgetsCopies(),
		row("sync.fromHost.configMaps", Off, "ConfigMaps of the host that the tenant sees by name, and cannot change.", HostConfigMaps).
			mapped("hostconfigmaps"),
		row("sync.fromHost.secrets", Off, "Secrets of the host that the tenant sees by name, and cannot change.", HostSecrets).
			mapped("hostsecrets"),
		row("sync.fromHost.events", On, "Events of the host about the copies of the tenant's pods, Services, claims, snapshots and Ingresses.", Events).ownsKeys("selector"),
		row("sync.fromHost.ingressClasses", Off, "The host's ingress classes, without their parameters. Ingresses may name those that are shown.", IngressClasses).forgetsCopies(),
	}
}

// Settings describes the settings of all kinds of the table for package v1alpha1.
func Settings() []v1alpha1.Kind {
	table := Table()
	settings := make([]v1alpha1.Kind, 0, len(table))
	for _, r := range table {
		settings = append(settings, r.Settings())
	}
	return settings
}
