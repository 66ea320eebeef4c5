package syncer

import (
	"net/http"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// clusterScoped are the built-in kinds without a namespace.
func clusterScoped() sets.Set[schema.GroupKind] {
	return sets.New(
		schema.GroupKind{Kind: "Namespace"},
		schema.GroupKind{Kind: "Node"},
		schema.GroupKind{Kind: "PersistentVolume"},
		schema.GroupKind{Group: "networking.k8s.io", Kind: "IngressClass"},
		schema.GroupKind{Group: "node.k8s.io", Kind: "RuntimeClass"},
		schema.GroupKind{Group: "scheduling.k8s.io", Kind: "PriorityClass"},
		schema.GroupKind{Group: "storage.k8s.io", Kind: "CSIDriver"},
		schema.GroupKind{Group: "storage.k8s.io", Kind: "CSINode"},
		schema.GroupKind{Group: "storage.k8s.io", Kind: "StorageClass"},
		schema.GroupKind{Group: "storage.k8s.io", Kind: "VolumeAttachment"},
	)
}

// builtIn are the versions whose kinds are where they are on every API server.
func builtIn() []schema.GroupVersion {
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

// newMapper knows the built-in kinds by itself, so that the start needs no
// discovery on either side, and asks the API server for all others.
func newMapper(scheme *runtime.Scheme, config *rest.Config, c *http.Client) (meta.RESTMapper, error) {
	known := meta.NewDefaultRESTMapper(builtIn())
	cluster := clusterScoped()
	for _, version := range builtIn() {
		for kind := range scheme.KnownTypes(version) {
			scope := meta.RESTScopeNamespace
			if cluster.Has(schema.GroupKind{Group: version.Group, Kind: kind}) {
				scope = meta.RESTScopeRoot
			}
			known.Add(version.WithKind(kind), scope)
		}
	}
	asked, err := apiutil.NewDynamicRESTMapper(config, c)
	if err != nil {
		return nil, err
	}
	return meta.FirstHitRESTMapper{MultiRESTMapper: meta.MultiRESTMapper{known, asked}}, nil
}
