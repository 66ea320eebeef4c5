package syncer

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// clusterScoped returns the cluster-scoped kinds that are built in or that Sublet has
// definitions of. A test compares it with a real API server and with the definitions.
func clusterScoped() sets.Set[schema.GroupKind] {
	return sets.New(
		schema.GroupKind{Kind: "ComponentStatus"},
		schema.GroupKind{Kind: "Namespace"},
		schema.GroupKind{Kind: "Node"},
		schema.GroupKind{Kind: "PersistentVolume"},
		schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicy"},
		schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicyBinding"},
		schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"},
		schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicy"},
		schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicyBinding"},
		schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"},
		schema.GroupKind{Group: "authentication.k8s.io", Kind: "SelfSubjectReview"},
		schema.GroupKind{Group: "authentication.k8s.io", Kind: "TokenReview"},
		schema.GroupKind{Group: "authorization.k8s.io", Kind: "SelfSubjectAccessReview"},
		schema.GroupKind{Group: "authorization.k8s.io", Kind: "SelfSubjectRulesReview"},
		schema.GroupKind{Group: "authorization.k8s.io", Kind: "SubjectAccessReview"},
		schema.GroupKind{Group: "certificates.k8s.io", Kind: "CertificateSigningRequest"},
		schema.GroupKind{Group: "certificates.k8s.io", Kind: "ClusterTrustBundle"},
		schema.GroupKind{Group: "flowcontrol.apiserver.k8s.io", Kind: "FlowSchema"},
		schema.GroupKind{Group: "flowcontrol.apiserver.k8s.io", Kind: "PriorityLevelConfiguration"},
		schema.GroupKind{Group: "networking.k8s.io", Kind: "IPAddress"},
		schema.GroupKind{Group: "networking.k8s.io", Kind: "IngressClass"},
		schema.GroupKind{Group: "networking.k8s.io", Kind: "ServiceCIDR"},
		schema.GroupKind{Group: "node.k8s.io", Kind: "RuntimeClass"},
		schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"},
		schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"},
		schema.GroupKind{Group: "resource.k8s.io", Kind: "DeviceClass"},
		schema.GroupKind{Group: "resource.k8s.io", Kind: "DeviceTaintRule"},
		schema.GroupKind{Group: "resource.k8s.io", Kind: "ResourceSlice"},
		schema.GroupKind{Group: "scheduling.k8s.io", Kind: "PriorityClass"},
		schema.GroupKind{Group: "snapshot.storage.k8s.io", Kind: "VolumeSnapshotClass"},
		schema.GroupKind{Group: "snapshot.storage.k8s.io", Kind: "VolumeSnapshotContent"},
		schema.GroupKind{Group: "storage.k8s.io", Kind: "CSIDriver"},
		schema.GroupKind{Group: "storage.k8s.io", Kind: "CSINode"},
		schema.GroupKind{Group: "storage.k8s.io", Kind: "StorageClass"},
		schema.GroupKind{Group: "storage.k8s.io", Kind: "VolumeAttachment"},
		schema.GroupKind{Group: "storage.k8s.io", Kind: "VolumeAttributesClass"},
		schema.GroupKind{Group: "storagemigration.k8s.io", Kind: "StorageVersionMigration"},
	)
}

// IsClusterScoped reports whether objects of a kind have no namespace. It knows the built-in
// kinds and those that Sublet has definitions of.
func IsClusterScoped(kind schema.GroupKind) bool { return clusterScoped().Has(kind) }

// builtInVersions returns the group versions that every API server serves with the same
// kinds.
func builtInVersions() []schema.GroupVersion {
	return []schema.GroupVersion{
		{Version: "v1"},
		{Group: "apps", Version: "v1"},
		{Group: "batch", Version: "v1"},
		{Group: "discovery.k8s.io", Version: "v1"},
		{Group: "networking.k8s.io", Version: "v1"},
		{Group: "node.k8s.io", Version: "v1"},
		{Group: "policy", Version: "v1"},
		{Group: "scheduling.k8s.io", Version: "v1"},
		{Group: "storage.k8s.io", Version: "v1"},
	}
}

// BuiltInMapper returns the mapper of the built-in kinds, which needs no discovery. A
// test compares it with the discovery of a real API server.
func BuiltInMapper(scheme *runtime.Scheme) *meta.DefaultRESTMapper {
	known := meta.NewDefaultRESTMapper(builtInVersions())
	cluster := clusterScoped()
	for _, version := range builtInVersions() {
		for kind := range scheme.KnownTypes(version) {
			scope := meta.RESTScopeNamespace
			if cluster.Has(schema.GroupKind{Group: version.Group, Kind: kind}) {
				scope = meta.RESTScopeRoot
			}
			known.Add(version.WithKind(kind), scope)
		}
	}
	return known
}

// newMapper returns a mapper that knows the built-in kinds and discovers all others when they
// are first needed. So the start needs no discovery.
func newMapper(scheme *runtime.Scheme, config *rest.Config, c *http.Client) (meta.RESTMapper, error) {
	asked, err := apiutil.NewDynamicRESTMapper(config, c)
	if err != nil {
		return nil, err
	}
	return meta.FirstHitRESTMapper{MultiRESTMapper: meta.MultiRESTMapper{BuiltInMapper(scheme), asked}}, nil
}

// statusDiscovery finds out which types have a status subresource.
type statusDiscovery struct {
	scheme *runtime.Scheme
	mapper meta.RESTMapper
	client discovery.ServerResourcesInterface

	mu    sync.Mutex
	known map[schema.GroupVersionKind]bool // type -> has a status subresource
}

// newStatusDiscovery returns a statusDiscovery of one API server.
func newStatusDiscovery(scheme *runtime.Scheme, mapper meta.RESTMapper, config *rest.Config, c *http.Client) (*statusDiscovery, error) {
	asked, err := discovery.NewDiscoveryClientForConfigAndClient(config, c)
	if err != nil {
		return nil, err
	}
	return &statusDiscovery{scheme: scheme, mapper: mapper, client: asked, known: map[schema.GroupVersionKind]bool{}}, nil
}

// has reports whether the type of object has a status subresource. Built-in types with a
// status have one. For all others it asks the API server once.
func (d *statusDiscovery) has(object client.Object) (bool, error) {
	gvk, err := apiutil.GVKForObject(object, d.scheme)
	if err != nil {
		return false, err
	}
	if has, known := BuiltInStatus(d.scheme, gvk); known {
		return has, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, ok := d.known[gvk]; ok {
		return known, nil
	}
	mapping, err := d.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return false, err
	}
	list, err := d.client.ServerResourcesForGroupVersion(gvk.GroupVersion().String())
	if err != nil {
		return false, fmt.Errorf("cannot list the resources of %s: %w", gvk.GroupVersion(), err)
	}
	has := slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool {
		return r.Name == mapping.Resource.Resource+"/status"
	})
	d.known[gvk] = has
	return has, nil
}

// forget drops the result for a type, because its definition may have changed.
func (d *statusDiscovery) forget(object client.Object) {
	gvk, err := apiutil.GVKForObject(object, d.scheme)
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.known, gvk)
}

// BuiltInStatus reports whether a built-in type has a status subresource. known is false for a type that
// is not built in, or not in every API server. A test compares it with the discovery of a real API server.
func BuiltInStatus(scheme *runtime.Scheme, gvk schema.GroupVersionKind) (has, known bool) {
	if !slices.Contains(builtInVersions(), gvk.GroupVersion()) {
		return false, false
	}
	return hasStatusField(scheme, gvk), true
}

// hasStatusField reports whether a built-in type has a status.
func hasStatusField(scheme *runtime.Scheme, gvk schema.GroupVersionKind) bool {
	t, ok := scheme.AllKnownTypes()[gvk]
	if !ok {
		return false
	}
	_, found := t.FieldByName("Status")
	return found && t.Kind() == reflect.Struct
}
