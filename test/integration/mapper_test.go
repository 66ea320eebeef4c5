package integration

import (
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/sublet-dev/sublet/pkg/app/definitions"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// discovered is a resource that an API server serves.
type discovered struct {
	metav1.APIResource
	gvk       schema.GroupVersionKind
	hasStatus bool
}

// discoverAll returns all resources that an API server serves, in all versions.
func discoverAll(t *testing.T) []discovered {
	t.Helper()
	client, err := discovery.NewDiscoveryClientForConfig(newRelease(t).virtual.memory())
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := discovery.ServerGroupsAndResources(client)
	if err != nil {
		t.Fatal(err)
	}
	var all []discovered
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, resource := range list.APIResources {
			if strings.Contains(resource.Name, "/") {
				continue
			}
			all = append(all, discovered{
				APIResource: resource, gvk: version.WithKind(resource.Kind),
				hasStatus: slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == resource.Name+"/status" }),
			})
		}
	}
	return all
}

// TestBuiltInKindsMatchDiscovery compares what the engine knows of built-in kinds with
// what a real API server answers: the resource, the scope and the status subresource.
func TestBuiltInKindsMatchDiscovery(t *testing.T) {
	t.Parallel()
	mapper := syncer.BuiltInMapper(scheme.Scheme)
	compared, scopes := 0, map[schema.GroupKind]bool{} // whether it is namespaced
	for _, resource := range discoverAll(t) {
		if scheme.Scheme.Recognizes(resource.gvk) {
			scopes[resource.gvk.GroupKind()] = resource.Namespaced
		}
		mapping, err := mapper.RESTMapping(resource.gvk.GroupKind(), resource.gvk.Version)
		if err != nil {
			continue // It is not built in, and the engine asks the API server.
		}
		compared++
		if namespaced := mapping.Scope.Name() == meta.RESTScopeNameNamespace; namespaced != resource.Namespaced {
			t.Errorf("%s: namespaced %t, want %t", resource.gvk, namespaced, resource.Namespaced)
		}
		if mapping.Resource.Resource != resource.Name {
			t.Errorf("%s: resource %q, want %q", resource.gvk, mapping.Resource.Resource, resource.Name)
		}
		if has, known := syncer.BuiltInStatus(scheme.Scheme, resource.gvk); !known || has != resource.hasStatus {
			t.Errorf("%s: status subresource %t, known %t, want %t", resource.gvk, has, known, resource.hasStatus)
		}
	}
	if compared < 30 {
		t.Errorf("Only %d kinds were compared", compared)
	}
	for kind, namespaced := range scopes {
		if syncer.IsClusterScoped(kind) == namespaced {
			t.Errorf("%s: cluster-scoped %t, want %t", kind, namespaced, !namespaced)
		}
	}
	for gvk := range scheme.Scheme.AllKnownTypes() {
		if _, found := scopes[gvk.GroupKind()]; !found && syncer.IsClusterScoped(gvk.GroupKind()) {
			t.Errorf("%s is listed as cluster-scoped, and the API server does not serve it", gvk)
		}
	}
}

// TestScopesMatchDefinitions compares the scopes of the kinds that Sublet has definitions of. No API server has
// them before.
func TestScopesMatchDefinitions(t *testing.T) {
	t.Parallel()
	all, err := definitions.Snapshots()
	if err != nil {
		t.Fatal(err)
	}
	for _, definition := range all {
		kind := schema.GroupKind{Group: definition.Spec.Group, Kind: definition.Spec.Names.Kind}
		if want := definition.Spec.Scope == apiextensionsv1.ClusterScoped; syncer.IsClusterScoped(kind) != want {
			t.Errorf("%s: cluster-scoped %t, want %t", kind, !want, want)
		}
	}
}
