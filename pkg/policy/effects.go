package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// Effect is what becomes of objects of a resource that a tenant creates.
type Effect struct {
	// Detail is what is missing to their effect. Empty if they have all of it.
	Detail string
	// Setting is the key of values.yaml that changes this. Empty if none does.
	Setting string
}

// Warning returns what a tenant reads who creates an object of a resource, empty if it
// has its whole effect.
func (e Effect) Warning(resource schema.GroupResource) string {
	switch {
	case e.Detail == "":
		return ""
	case e.Setting == "":
		return fmt.Sprintf("%s: %s", resource, e.Detail)
	}
	return fmt.Sprintf("%s: %s. The operator of the host can change this with %s.", resource, e.Detail, e.Setting)
}

// effectRow has the resources of one API group that share an effect. Functions below create rows.
type effectRow struct {
	group, resources string
	// detail and setting are those of the [Effect] that the objects have while they lack it.
	detail, setting string
	// actor is who in the virtual cluster acts on the objects, for a reader. Empty if nobody does.
	actor string
	// copiedBy is the kind that copies the objects to the host. Default: the kind with the name of
	// the resource, if there is one.
	copiedBy string
	// needs is the kind without which the objects lack their effect. Default: copiedBy.
	needs string
	// needsKind specifies that the effect depends on the kind of needs.
	needsKind bool
	// isOn reports whether they have their effect under the settings. nil means never.
	isOn func(*v1alpha1.Config) bool
}

// served returns resources on which the virtual cluster itself acts.
func served(group, resources, actor string) effectRow {
	return effectRow{group: group, resources: resources, actor: actor, isOn: func(*v1alpha1.Config) bool { return true }}
}

// copiedResources returns resources whose objects need a copy on the host. detail is the end of a
// sentence about objects without one. The settings decide whether a kind copies them, so a
// new kind changes nothing here.
func copiedResources(group, resources, detail string) effectRow {
	return effectRow{group: group, resources: resources, detail: "they are not synced to the host, so " + detail, needsKind: true}
}

// hostOnly returns resources that only the host could use, and which never reach it.
func hostOnly(group, resources, detail string) effectRow {
	return effectRow{group: group, resources: resources, detail: detail}
}

// kindThatCopies returns the name of the kind that copies one of the resources.
func (e effectRow) kindThatCopies(resource string) string { return cmp.Or(e.copiedBy, resource) }

// effectOn returns the effect of one of the resources under the settings.
func (e effectRow) effectOn(resource string, settings *v1alpha1.Config) Effect {
	effect := Effect{Detail: e.detail, Setting: e.setting}
	isOn := e.isOn != nil && e.isOn(settings)
	if setting := kindSetting(settings, cmp.Or(e.needs, e.kindThatCopies(resource))); e.needsKind && setting != "" {
		effect.Setting, isOn = setting+".enabled", settings.Sync.IsEnabled(setting)
	}
	if isOn {
		return Effect{}
	}
	return effect
}

// kindSetting returns the path of the settings of a kind whose objects the host gets, empty
// if there is no such kind. A kind is named by its last key in lower case.
func kindSetting(settings *v1alpha1.Config, kind string) string {
	for setting := range settings.Sync.Kinds {
		if key, ok := strings.CutPrefix(setting, "sync.toHost."); ok && strings.EqualFold(key, kind) {
			return setting
		}
	}
	return ""
}

// Effects returns what becomes of the objects of every resource that Kubernetes has built
// in, and of some that are not. No object is accepted without effect and without a warning.
func Effects(settings *v1alpha1.Config) map[schema.GroupResource]Effect {
	all := map[schema.GroupResource]Effect{}
	for resource, row := range effectRows() {
		all[resource] = row.effectOn(resource.Resource, settings)
	}
	return all
}

// effectRows returns the row of each resource.
func effectRows() map[schema.GroupResource]effectRow {
	rows := map[schema.GroupResource]effectRow{}
	for _, row := range slices.Concat(coreEffects(), workloadEffects(), networkEffects(), storageEffects(), nodeEffects(), extensionEffects()) {
		for resource := range strings.FieldsSeq(row.resources) {
			rows[schema.GroupResource{Group: row.group, Resource: resource}] = row
		}
	}
	return rows
}

// coreEffects returns the resources of the core group on which the virtual cluster acts.
func coreEffects() []effectRow {
	return []effectRow{
		served("", "bindings", "the scheduler's request to bind a pod"),
		served("", "configmaps secrets", "those that a pod refers to are on the host"),
		served("", "events", "those of the host appear here too"),
		served("", "limitranges resourcequotas", "the API server applies them at admission"),
		served("", "namespaces", "its names are part of the names on the host"),
		served("", "nodes", "the host's, with what the tenant adds to them"),
		served("", "pods", "the host runs them"),
		served("", "podtemplates", "a template for objects that refer to it"),
		served("", "replicationcontrollers", "a controller creates pods from them"),
		served("", "serviceaccounts", "pods have tokens of them, and roles are bound to them"),
	}
}

// workloadEffects returns the resources of other groups that create and scale pods, and those that
// controllers share.
func workloadEffects() []effectRow {
	const controllers = "its controllers create pods from them"
	return []effectRow{
		served("apps", "controllerrevisions", "the history of DaemonSets and StatefulSets"),
		served("apps", "daemonsets deployments replicasets statefulsets", controllers),
		served("autoscaling", "horizontalpodautoscalers", "its controller scales by metrics.k8s.io, see integrations.metricsServer"),
		served("batch", "cronjobs jobs", controllers),
		served("coordination.k8s.io", "leases leasecandidates", "whoever elects a leader"),
		served("events.k8s.io", "events", "those of the host appear here too"),
	}
}

// networkEffects returns the resources about Services and traffic.
func networkEffects() []effectRow {
	const hostRange = "addresses of Services are the host's, which does not know it"
	const controller = "they have an effect only if a controller for them runs in this virtual cluster"
	return []effectRow{
		copiedResources("", "services", "pods reach each other by IP only"),
		copiedResources("discovery.k8s.io", "endpointslices", "Services without a selector lead nowhere"),
		{
			resources: "endpoints", copiedBy: "endpointslices", needsKind: true,
			detail: "they are not synced to the host, so Services without a selector lead nowhere",
		},
		copiedResources("networking.k8s.io", "networkpolicies", "nothing enforces them"),
		copiedResources("networking.k8s.io", "ingresses ingressclasses", controller),
		hostOnly("networking.k8s.io", "ipaddresses servicecidrs", hostRange),
		copiedResources("gateway.networking.k8s.io", "gatewayclasses gateways httproutes grpcroutes tlsroutes tcproutes udproutes referencegrants backendtlspolicies listenersets", controller),
		copiedResources("policy.networking.k8s.io", "clusternetworkpolicies adminnetworkpolicies baselineadminnetworkpolicies", "nothing enforces them"),
	}
}

// storageEffects returns the resources about volumes.
func storageEffects() []effectRow {
	const drivers = "drivers of the host provide the volumes, and do not know it"
	return []effectRow{
		copiedResources("", "persistentvolumeclaims", "no volume is provided for them"),
		hostOnly("", "persistentvolumes", "the host provides volumes for claims alone, and mounts no other"),
		hostOnly("storage.k8s.io", "storageclasses", "a claim needs a storage class of the host"),
		hostOnly("storage.k8s.io", "csidrivers csinodes csistoragecapacities volumeattachments volumeattributesclasses", drivers),
		copiedResources(SnapshotGroup, "volumesnapshots", "nobody takes them"),
		hostOnly(SnapshotGroup, "volumesnapshotclasses", "a snapshot needs a snapshot class of the host"),
		hostOnly(SnapshotGroup, "volumesnapshotcontents", "the host has the contents of snapshots"),
		hostOnly("groupsnapshot.storage.k8s.io", "volumegroupsnapshots volumegroupsnapshotclasses volumegroupsnapshotcontents", drivers),
		hostOnly("storagemigration.k8s.io", "storageversionmigrations", "no controller migrates stored objects in a virtual cluster"),
	}
}

// nodeEffects returns the resources about nodes, and about which pod runs on them.
func nodeEffects() []effectRow {
	const devices = "pods get no devices by them; ask for devices in resources.limits"
	return []effectRow{
		copiedResources("policy", "poddisruptionbudgets", "only evictions through the virtual API respect them; a drain of a host node does not"),
		{
			group: "scheduling.k8s.io", resources: "priorityclasses", setting: virtualSchedulerSetting,
			actor:  "the scheduler of the virtual cluster, or a class of the host",
			detail: "the host schedules the pods of this virtual cluster, without their priorities",
			isOn: func(c *v1alpha1.Config) bool {
				return c.ControlPlane.Advanced.VirtualScheduler.Enabled || len(c.Sync.ToHost.Pods.PriorityClasses) > 0
			},
		},
		hostOnly("scheduling.k8s.io", "workloads podgroups compositepodgroups", "groups of pods are not synced to the host, which schedules pods one by one"),
		{
			group: "node.k8s.io", resources: "runtimeclasses", setting: "policies.pods.runtimeHandlers",
			actor:  "pods that name one run with its handler",
			detail: "a pod that names one gets the runtime class of the host with that name, if any",
			isOn:   func(c *v1alpha1.Config) bool { return len(c.Policies.Pods.RuntimeHandlers) > 0 },
		},
		copiedResources("resource.k8s.io", "resourceclaims", devices),
		{
			group: "resource.k8s.io", resources: "resourceclaimtemplates", actor: "a controller creates claims from them",
			needs: "resourceclaims", needsKind: true, detail: "they are not synced to the host, so " + devices,
		},
		hostOnly("resource.k8s.io", "deviceclasses resourceslices devicetaintrules resourcepoolstatusrequests", "the host has the devices, and does not know it"),
	}
}

// extensionEffects returns the resources about access, and those that extend the API.
func extensionEffects() []effectRow {
	const apiServer = "the API server itself"
	return []effectRow{
		served("admissionregistration.k8s.io", "mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations "+
			"validatingadmissionpolicies validatingadmissionpolicybindings validatingwebhookconfigurations", apiServer),
		served("apiextensions.k8s.io", "customresourcedefinitions", apiServer),
		served("apiregistration.k8s.io", "apiservices", apiServer),
		served("authentication.k8s.io", "selfsubjectreviews tokenreviews", apiServer),
		served("authorization.k8s.io", "localsubjectaccessreviews selfsubjectaccessreviews selfsubjectrulesreviews subjectaccessreviews", apiServer),
		served("certificates.k8s.io", "certificatesigningrequests podcertificaterequests", "controllers sign them with the authority of the virtual cluster"),
		served("certificates.k8s.io", "clustertrustbundles", "volumes of pods have their certificates"),
		served("flowcontrol.apiserver.k8s.io", "flowschemas prioritylevelconfigurations", "the API server orders requests by them"),
		served("internal.apiserver.k8s.io", "storageversions", apiServer),
		served("rbac.authorization.k8s.io", "clusterrolebindings clusterroles rolebindings roles", apiServer),
	}
}
