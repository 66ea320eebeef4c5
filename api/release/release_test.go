package release_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/release"
)

func TestNames(t *testing.T) {
	t.Parallel()
	shop := release.Release{Name: "shop", Namespace: "tenant"}
	want := []string{
		"shop-anchor", "shop-certs", "shop-kubeconfig", "shop-operator", "shop-config", "shop", "shop-dns", "shop-peer-1", "shop",
		"shop-1", "data-shop-0", "shop", "shop-workload", "sublet:tenant:shop", "shop.tenant.sublet.dev",
	}
	got := []string{
		shop.Anchor(), shop.Certs(), shop.Kubeconfig(), shop.Operator(), shop.Config(), shop.Service(), shop.DNS(), shop.Peer(1), shop.StatefulSet(),
		shop.Pod(1), shop.Claim(0), shop.ServiceAccount(), shop.Workload(), shop.ClusterRole(), shop.Fence(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names are stored on hosts and must not change (-want +got):\n%s", diff)
	}
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "shop-anchor", UID: "1"}
	if diff := cmp.Diff(owner, shop.AnchorOwner("1")); diff != "" {
		t.Errorf("owner (-want +got):\n%s", diff)
	}
}

// TestClusterNames checks that no two releases share an object outside of their namespaces.
func TestClusterNames(t *testing.T) {
	t.Parallel()
	seen := map[string]release.Release{}
	for _, r := range []release.Release{
		{Name: "c", Namespace: "a-b"}, {Name: "b-c", Namespace: "a"}, {Name: "a", Namespace: "b-c"}, {Name: "a-b", Namespace: "c"},
		{Name: "c-a", Namespace: "b"}, {Name: "b", Namespace: "c-a"},
	} {
		for _, name := range []string{r.ClusterRole(), r.Fence(), "nodes." + r.Fence()} {
			if other, ok := seen[name]; ok {
				t.Errorf("%v and %v both have %s", other, r, name)
			}
			seen[name] = r
		}
	}
}

// TestChart reads the golden file of the chart: its objects have the names of
// this package.
func TestChart(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../chart/testdata/default.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shop := release.Release{Name: "shop", Namespace: "tenant"}
	for _, name := range []string{shop.Anchor(), shop.Service(), shop.DNS(), shop.Workload(), shop.ClusterRole()} {
		if !strings.Contains(string(text), "\n  name: "+name+"\n") && !strings.Contains(string(text), "\n  name: "+strconv.Quote(name)+"\n") {
			t.Errorf("the chart renders no object %s", name)
		}
	}
}
