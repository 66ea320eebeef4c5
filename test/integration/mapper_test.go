package integration

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// TestBuiltInScopesMatchDiscovery compares what the engine knows of built-in kinds with
// what a real API server answers: the resource, the scope and the status subresource.
func TestBuiltInScopesMatchDiscovery(t *testing.T) {
	t.Parallel()
	client, err := discovery.NewDiscoveryClientForConfig(newRelease(t).virtual.memory())
	if err != nil {
		t.Fatal(err)
	}
	lists, err := discovery.ServerPreferredResources(client)
	if err != nil {
		t.Fatal(err)
	}
	mapper, compared := syncer.BuiltInMapper(scheme.Scheme), 0
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, resource := range list.APIResources {
			mapping, err := mapper.RESTMapping(schema.GroupKind{Group: version.Group, Kind: resource.Kind}, version.Version)
			if err != nil || strings.Contains(resource.Name, "/") {
				continue // It is not built in, and the engine asks the API server.
			}
			compared++
			if namespaced := mapping.Scope.Name() == meta.RESTScopeNameNamespace; namespaced != resource.Namespaced {
				t.Errorf("%s %s: namespaced %t, want %t", version, resource.Kind, namespaced, resource.Namespaced)
			}
			if mapping.Resource.Resource != resource.Name {
				t.Errorf("%s %s: resource %q, want %q", version, resource.Kind, mapping.Resource.Resource, resource.Name)
			}
		}
	}
	if compared < 30 {
		t.Errorf("Only %d kinds were compared", compared)
	}
}
