package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// hostOwned is a kind whose originals are on the host.
type hostOwned struct {
	setting  string // of the kind
	resource schema.GroupResource
	noun     string // for messages
	// isTerminating reports whether a namespace is being deleted, and its objects with it.
	// nil for kinds without a namespace.
	isTerminating func(namespace string) bool
}

// hostOwnedKinds returns the cluster-scoped kinds whose copies only the syncer may write.
func hostOwnedKinds() []hostOwned {
	return []hostOwned{
		{setting: "sync.fromHost.runtimeClasses", resource: nodev1.Resource("runtimeclasses"), noun: "runtime class"},
		{setting: "sync.fromHost.priorityClasses", resource: schedulingv1.Resource("priorityclasses"), noun: "priority class"},
		{setting: "sync.fromHost.csiDrivers", resource: storagev1.Resource("csidrivers"), noun: "CSI driver"},
		{setting: "sync.fromHost.csiNodes", resource: storagev1.Resource("csinodes"), noun: "CSINode"},
		{setting: "sync.fromHost.csiStorageCapacities", resource: storagev1.Resource("csistoragecapacities"), noun: "storage capacity"},
		{setting: policy.DeviceClassesSetting, resource: resourcev1.Resource("deviceclasses"), noun: "device class"},
		{setting: "sync.fromHost.resourceSlices", resource: resourcev1.Resource("resourceslices"), noun: "resource slice"},
		{setting: "sync.fromHost.ingressClasses", resource: networkingv1.Resource("ingressclasses"), noun: "ingress class"},
		{
			setting: policy.SnapshotClassesSetting, noun: "snapshot class",
			resource: schema.GroupResource{Group: policy.SnapshotGroup, Resource: "volumesnapshotclasses"},
		},
	}
}

// mappedKinds returns the namespaced kinds whose copies only the syncer may write.
func mappedKinds(isTerminating func(namespace string) bool) []hostOwned {
	return []hostOwned{
		{"sync.fromHost.configMaps", corev1.Resource("configmaps"), "ConfigMap", isTerminating},
		{"sync.fromHost.secrets", corev1.Resource("secrets"), "Secret", isTerminating},
	}
}

// replicatedKinds returns the kinds of Services that are replicated from the host.
func replicatedKinds(isTerminating func(namespace string) bool) []hostOwned {
	const setting = "networking.replicateServices.fromHost"
	return []hostOwned{
		{setting, corev1.Resource("services"), "Service", isTerminating},
		{setting, discoveryv1.Resource("endpointslices"), "EndpointSlice", isTerminating},
	}
}

// AddMappedChecks adds the checks of copies in namespaces. isTerminating reports whether a
// virtual namespace is being deleted.
func AddMappedChecks(checks Checks, settings *v1alpha1.Config, isTerminating func(namespace string) bool) {
	addHostOwned(checks, settings, mappedKinds(isTerminating))
	if len(settings.Networking.ReplicateServices.FromHost) > 0 {
		for _, kind := range replicatedKinds(isTerminating) {
			checks.Add(kind.resource, kind.check)
		}
	}
}

// addHostOwned adds the check of each kind of the host that is on.
func addHostOwned(checks Checks, settings *v1alpha1.Config, kinds []hostOwned) {
	for _, kind := range kinds {
		if settings.Sync.IsEnabled(kind.setting) {
			checks.Add(kind.resource, kind.check)
		}
	}
}

// check denies changes of what the host owns. The annotation with the UID of the host object
// shows what that is, see [forgedMark].
func (h hostOwned) check(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (Decision, error) {
	if hostUIDOf(a.GetOldObject()) == "" || a.GetOperation() == admission.Delete && h.isTerminating != nil && h.isTerminating(a.GetNamespace()) {
		return Decision{}, nil
	}
	return Decision{Violations: []policy.Violation{{
		Field: "metadata.name", Value: nameOf(a), Detail: fmt.Sprintf("this %s is the host's and cannot be changed here", h.noun),
	}}}, nil
}

// forgedMark returns a violation if a tenant marks an object as the copy of a host object, or as a definition of
// Sublet. It applies to all kinds, because a kind may be enabled later.
func forgedMark(a admission.Attributes) []policy.Violation {
	for _, key := range []string{labels.HostUID, labels.Definition} {
		if mark := annotationOf(a.GetObject(), key); mark != "" && mark != annotationOf(a.GetOldObject(), key) {
			return []policy.Violation{{Field: "metadata.annotations[" + key + "]", Value: mark, Detail: "only the syncer writes it"}}
		}
	}
	return nil
}

// hostUIDOf returns the UID of the host object that an object is the copy of, empty if it is
// none.
func hostUIDOf(object any) string { return annotationOf(object, labels.HostUID) }

// annotationOf returns an annotation of an object, empty if it has none.
func annotationOf(object any, key string) string {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return ""
	}
	return accessor.GetAnnotations()[key]
}
