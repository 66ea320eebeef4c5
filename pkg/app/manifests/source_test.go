package manifests

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/fake"
	clienttesting "k8s.io/client-go/testing"
)

// failingDiscovery is an API server whose lists of APIs have an error.
type failingDiscovery struct {
	*fake.FakeDiscovery

	err error
}

// ServerGroupsAndResources implements [discovery.DiscoveryInterface].
func (d failingDiscovery) ServerGroupsAndResources() ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	return nil, d.Resources, d.err
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	stale := schema.GroupVersion{Group: "broken.example.com", Version: "v1"}
	for name, tc := range map[string]struct {
		reason string
		err    error
		want   []string // nil means an error
	}{
		"All":    {"Versions and kinds are capabilities.", nil, []string{"v1", "v1/Pod"}},
		"Stale":  {"A broken APIService of a tenant must not keep the operator's objects from being applied.", &discovery.ErrGroupDiscoveryFailed{Groups: map[schema.GroupVersion]error{stale: errors.New("503")}}, []string{"v1", "v1/Pod"}},
		"Failed": {"Without any answer nothing is rendered.", errors.New("timeout"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := failingDiscovery{&fake.FakeDiscovery{
				Fake: &clienttesting.Fake{Resources: []*metav1.APIResourceList{
					{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "pods", Kind: "Pod"}}},
				}},
				FakedServerVersion: &version.Info{GitVersion: "v1.37.1"},
			}, tc.err}
			capabilities, err := Discover(client)()
			if (err == nil) != (tc.want != nil) {
				t.Fatalf("%s Got error %v, want capabilities %v", tc.reason, err, tc.want)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tc.want, []string(capabilities.APIVersions)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
