package integration

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// TestEveryResourceHasAnEffect checks that it is known of each resource of a real API
// server what becomes of its objects. A new version of Kubernetes may bring more.
func TestEveryResourceHasAnEffect(t *testing.T) {
	t.Parallel()
	client, err := discovery.NewDiscoveryClientForConfig(newRelease(t).virtual.memory())
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := discovery.ServerGroupsAndResources(client)
	if err != nil {
		t.Fatal(err)
	}
	effects, compared := policy.Effects(v1alpha1.Default(kinds.Settings()...)), 0
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, resource := range list.APIResources {
			if strings.Contains(resource.Name, "/") || !slices.Contains(resource.Verbs, "create") {
				continue
			}
			compared++
			name := schema.GroupResource{Group: version.Group, Resource: resource.Name}
			if _, ok := effects[name]; !ok {
				t.Errorf("%s can be created, and nobody knows whether it has an effect: add it to policy.Effects", name)
			}
		}
	}
	if compared < 40 {
		t.Errorf("Only %d resources were compared", compared)
	}
}
