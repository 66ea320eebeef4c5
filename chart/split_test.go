package chart_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"

	"github.com/sublet-dev/sublet/api/release"
)

const split = `
controlPlane:
  advanced: {split: {enabled: true, replicas: 2}}
  backingStore: {etcd: {external: {enabled: true, endpoint: "https://etcd.example.com:2379"}}, backup: {enabled: true, volumeClaim: {accessModes: [ReadWriteMany]}}}
  statefulSet: {highAvailability: {replicas: 3}}
`

// TestSplit renders a control plane in two workloads.
func TestSplit(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), split)
	_, controllers, found := strings.Cut(rendered.text["sublet/templates/statefulset.yaml"], "\n---\n")
	if !found {
		t.Fatal("the chart renders one workload")
	}
	compareGolden(t, "testdata/controllers.yaml", withoutChecksum(controllers))

	api := object[*appsv1.StatefulSet](t, rendered, "shop")
	rest := object[*appsv1.StatefulSet](t, rendered, "shop-controllers")
	if *api.Spec.Replicas != 3 || *rest.Spec.Replicas != 2 {
		t.Errorf("%d replicas serve the API, and %d run the controllers", *api.Spec.Replicas, *rest.Spec.Replicas)
	}
	if got := partArguments(api); !slices.Equal(got, []string{"--parts=api"}) {
		t.Errorf("the API runs with %q", got)
	}
	if got := partArguments(rest); !slices.Equal(got, []string{"--parts=controllers,syncer,scheduler"}) {
		t.Errorf("the controllers run with %q", got)
	}
	if diff := cmp.Diff(mounts(renderReplicas(t)), mounts(api)); diff != "" {
		t.Errorf("volumes of the API (-want +got):\n%s", diff)
	}
	if got := mounts(rest); !slices.Contains(got, "backup") || len(rest.Spec.VolumeClaimTemplates) != 0 {
		t.Errorf("the controllers, which back up, mount %q", got)
	}
	testApart(t, rendered, api, rest)
}

// withoutChecksum removes the line that changes with each new setting.
func withoutChecksum(text string) string {
	lines := slices.DeleteFunc(strings.SplitAfter(text, "\n"), func(line string) bool { return strings.Contains(line, "checksum/config") })
	return strings.Join(lines, "")
}

// testApart checks who selects which pods.
func testApart(t *testing.T, rendered rendering, api, rest *appsv1.StatefulSet) {
	t.Helper()
	for _, name := range []string{"shop", "shop-dns", "shop-operator"} {
		if diff := cmp.Diff(api.Spec.Selector.MatchLabels, object[*corev1.Service](t, rendered, name).Spec.Selector); diff != "" {
			t.Errorf("pods of Service %s (-want +got):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(rest.Spec.Selector.MatchLabels, object[*corev1.Service](t, rendered, "shop-controllers").Spec.Selector); diff != "" {
		t.Errorf("pods of Service shop-controllers (-want +got):\n%s", diff)
	}
	for _, set := range []*appsv1.StatefulSet{api, rest} {
		budget := object[*policyv1.PodDisruptionBudget](t, rendered, set.Name)
		if diff := cmp.Diff(set.Spec.Selector, budget.Spec.Selector); diff != "" {
			t.Errorf("pods of the budget %s (-want +got):\n%s", set.Name, diff)
		}
	}
	for name, set := range map[string]*appsv1.StatefulSet{"shop-control-plane": api, "shop-controllers": rest} {
		policy := object[*networkingv1.NetworkPolicy](t, rendered, name)
		if diff := cmp.Diff(*set.Spec.Selector, policy.Spec.PodSelector); diff != "" {
			t.Errorf("pods of the network policy %s (-want +got):\n%s", name, diff)
		}
	}
	testTenantPolicies(t, rendered, api, rest)
}

// testTenantPolicies checks that both workloads reach the tenant's pods, which reach the API alone.
func testTenantPolicies(t *testing.T, rendered rendering, api, rest *appsv1.StatefulSet) {
	t.Helper()
	in := object[*networkingv1.NetworkPolicy](t, rendered, "shop-workload").Spec.Ingress[0].From[0].PodSelector
	if diff := cmp.Diff(release.Release{Name: "shop"}.ServerPods(), in); diff != "" {
		t.Errorf("pods that reach the tenant's (-want +got):\n%s", diff)
	}
	selector, err := metav1.LabelSelectorAsSelector(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []*appsv1.StatefulSet{api, rest} {
		if !selector.Matches(apilabels.Set(set.Spec.Template.Labels)) {
			t.Errorf("the pods of %s do not reach the tenant's", set.Name)
		}
	}
	for _, rule := range object[*networkingv1.NetworkPolicy](t, rendered, "shop-workload-egress").Spec.Egress {
		if rule.Ports != nil && !cmp.Equal(api.Spec.Selector, rule.To[0].PodSelector) {
			t.Errorf("the tenant's pods reach port %s of %v", rule.Ports[0].Port, rule.To[0].PodSelector)
		}
	}
	for _, rule := range object[*networkingv1.NetworkPolicy](t, rendered, "shop-controllers").Spec.Ingress {
		if len(rule.Ports) != 1 || rule.Ports[0].Port.IntValue() != 8444 {
			t.Errorf("the controllers serve %v", rule.Ports)
		}
	}
}

// renderReplicas renders the StatefulSet of three replicas in one workload.
func renderReplicas(t *testing.T) *appsv1.StatefulSet {
	t.Helper()
	return object[*appsv1.StatefulSet](t, mustRender(t, loadChart(t), threeReplicas), "shop")
}

func partArguments(set *appsv1.StatefulSet) []string {
	return slices.DeleteFunc(slices.Clone(set.Spec.Template.Spec.Containers[0].Args), func(arg string) bool { return !strings.HasPrefix(arg, "--parts") })
}

// mounts returns the names of the volumes that the server mounts.
func mounts(set *appsv1.StatefulSet) []string {
	var names []string
	for _, mount := range set.Spec.Template.Spec.Containers[0].VolumeMounts {
		names = append(names, mount.Name)
	}
	return names
}

// TestSplitName refuses a name that is too long for the second workload.
func TestSplitName(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	name := strings.Repeat("a", 41)
	if _, err := renderAs(ch, name, parse(t, split)); err == nil || !strings.Contains(err.Error(), "at most 40 characters") {
		t.Errorf("a name of 41 characters: %v", err)
	}
	if _, err := renderAs(ch, name[1:], parse(t, split)); err != nil {
		t.Errorf("a name of 40 characters: %v", err)
	}
}
