package policy

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// Outcome is what becomes of the objects of a resource.
type Outcome string

// The outcomes. There is no other one: nothing is accepted without effect and without a word.
const (
	// Served means that the virtual cluster itself acts on the objects.
	Served Outcome = "served"
	// Synced means that a kind copies the objects to the host.
	Synced Outcome = "synced"
	// Told means that they have no effect, or not all. Who creates one is warned or denied.
	Told Outcome = "told"
)

// ResourceOutcome is what becomes of the objects of one resource, and why.
type ResourceOutcome struct {
	Resource schema.GroupResource
	Outcome  Outcome
	// Reason is who acts on the objects, the setting of the kind that copies them, or what
	// is missing. Empty if nobody has written it down.
	Reason string
}

// Outcomes returns the outcome of each resource that Kubernetes has built in, and of some
// that are not, sorted by group and name.
func Outcomes(settings *v1alpha1.Config) []ResourceOutcome {
	var all []ResourceOutcome
	for resource, effect := range Effects(settings) {
		o := ResourceOutcome{Resource: resource, Outcome: Told, Reason: effect.Detail}
		if effect.Detail == "" {
			o.Outcome, o.Reason = Served, servedReason(resource)
			if setting := kindSetting(settings, cmp.Or(copiedBy()[resource], resource.Resource)); setting != "" && settings.Sync.IsEnabled(setting) {
				o.Outcome, o.Reason = Synced, setting
			}
		}
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b ResourceOutcome) int {
		return cmp.Or(strings.Compare(a.Resource.Group, b.Resource.Group), strings.Compare(a.Resource.Resource, b.Resource.Resource))
	})
	return all
}

// copiedBy maps a resource that the kind of another one copies -> the name of that kind.
func copiedBy() map[schema.GroupResource]string {
	return map[schema.GroupResource]string{{Resource: "endpoints"}: "endpointslices"}
}

// servedReason returns who in the virtual cluster acts on the objects of a resource.
func servedReason(resource schema.GroupResource) string {
	return cmp.Or(servedResources()[resource], servedGroups()[resource.Group])
}

// servedResources maps a resource -> who acts on its objects, where that is not the same for
// its whole group.
func servedResources() map[schema.GroupResource]string {
	const admission, pods = "the API server applies them at admission", "a controller creates pods from them"
	reasons := map[schema.GroupResource]string{}
	for reason, names := range map[string]string{
		admission:                               "limitranges resourcequotas",
		pods:                                    "replicationcontrollers",
		"the scheduler's request to bind a pod": "bindings",
		"the host's, with what the tenant adds to them":         "nodes",
		"its names are part of the names on the host":           "namespaces",
		"pods have tokens of them, and roles are bound to them": "serviceaccounts",
		"a template for objects that refer to it":               "podtemplates",
		"those of the host appear here too":                     "events",
		"those that a pod refers to are on the host":            "configmaps secrets",
		"the host runs them":                                    "pods",
	} {
		for name := range strings.FieldsSeq(names) {
			reasons[schema.GroupResource{Resource: name}] = reason
		}
	}
	reasons[schema.GroupResource{Group: "certificates.k8s.io", Resource: "clustertrustbundles"}] = "volumes of pods have their certificates"
	reasons[schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaimtemplates"}] = "a controller creates claims from them"
	reasons[schema.GroupResource{Group: "apps", Resource: "controllerrevisions"}] = "the history of DaemonSets and StatefulSets"
	return reasons
}

// servedGroups maps an API group -> who acts on the objects of its resources.
func servedGroups() map[string]string {
	const apiServer = "the API server itself"
	groups := map[string]string{
		"apps":                         "its controllers create pods from them",
		"autoscaling":                  "its controller scales by metrics.k8s.io, see integrations.metricsServer",
		"batch":                        "its controllers create pods from them",
		"certificates.k8s.io":          "controllers sign them with the authority of the virtual cluster",
		"coordination.k8s.io":          "whoever elects a leader",
		"events.k8s.io":                "those of the host appear here too",
		"flowcontrol.apiserver.k8s.io": "the API server orders requests by them",
		"scheduling.k8s.io":            "the scheduler of the virtual cluster, or a class of the host",
	}
	for group := range strings.FieldsSeq("admissionregistration.k8s.io apiextensions.k8s.io apiregistration.k8s.io authentication.k8s.io " +
		"authorization.k8s.io internal.apiserver.k8s.io rbac.authorization.k8s.io") {
		groups[group] = apiServer
	}
	return groups
}
