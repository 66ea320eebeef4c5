package kinds

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
)

// TestGolden runs the golden cases of the kinds whose functions this package
// shows as a resource.
func TestGolden(t *testing.T) {
	t.Parallel()
	goldenCases(t, "services", Services)
	goldenCases(t, "endpointslices", EndpointSlices)
	goldenCases(t, "configmaps", ConfigMaps)
	goldenCases(t, "secrets", Secrets)
	goldenCases(t, "persistentvolumeclaims", PersistentVolumeClaims)
	goldenCases(t, "persistentvolumes", PersistentVolumes)
	goldenCases(t, "storageclasses", StorageClasses)
	goldenCases(t, "nodes", func(o Options) syncer.Resource[*corev1.Node, *corev1.Node] { return nodes.Real(o.nodes()) })
	goldenCases(t, "pseudonodes", func(o Options) syncer.Resource[*corev1.Node, *corev1.Pod] { return nodes.Pseudo(o.nodes()) })
	goldenCases(t, "events", Events)
}

func TestTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, row := range Table() {
		t.Run(row.Name, func(t *testing.T) {
			if seen[row.Name] {
				t.Error("two rows bear this name")
			}
			seen[row.Name] = true
			cases, err := filepath.Glob(filepath.Join("testdata", row.Name, "*.in.yaml"))
			if err != nil || len(cases) < 2 {
				t.Errorf("a kind needs golden cases in testdata/%s, at least two: it has %d (%v)", row.Name, len(cases), err)
			}
			if !strings.HasSuffix(row.Doc, ".") || strings.Contains(row.Doc, "\n") {
				t.Errorf("Doc must be one line of whole sentences: %q", row.Doc)
			}
			if name := row.Define(testOptions()).Name(); name != row.Name {
				t.Errorf("the kind is called %q, its row %q", name, row.Name)
			}
			if len(row.Rules)+len(row.ClusterRules) == 0 {
				t.Error("the row asks for no right, but every kind watches the host")
			}
			checkRules(t, row)
		})
	}
}

// checkRules holds that no kind may do to the host more than it needs.
func checkRules(t *testing.T, row Row) {
	t.Helper()
	for _, rule := range row.ClusterRules {
		if !slices.Equal(rule.Verbs, read()) {
			t.Errorf("cluster-wide rights are for reading only: %v", rule)
		}
	}
	for _, further := range row.Further {
		for _, rule := range further.ClusterRules {
			if row.Name != NodesName || !slices.Equal(rule.Verbs, []string{"patch"}) || !slices.Equal(rule.Resources, []string{"nodes"}) {
				t.Errorf("what is written in the whole host is nodes that an operator allows, and those are patched: %v", rule)
			}
		}
	}
	for _, rule := range slices.Concat(row.Rules, row.ClusterRules) {
		if row.Owner == syncer.Host && !slices.Equal(rule.Verbs, read()) {
			t.Errorf("a kind that the host owns is only read: %v", rule)
		}
		if !slices.IsSorted(rule.Verbs) || slices.Contains(rule.Verbs, "*") || slices.Contains(rule.Resources, "*") {
			t.Errorf("a rule names its verbs, sorted, and its resources: %v", rule)
		}
	}
}

func TestEnabled(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason  string
		change  func(*v1alpha1.Sync)
		without []string
	}{
		"Defaults": {
			reason:  "everything is on by default, and real nodes take the place of made-up ones",
			change:  func(*v1alpha1.Sync) {},
			without: []string{"pseudonodes"},
		},
		"NoNodes": {
			reason:  "without real nodes there are made-up ones",
			change:  func(s *v1alpha1.Sync) { s.FromHost.Nodes.Enabled = false },
			without: []string{"nodes"},
		},
		"NoServices": {
			reason:  "slices without their Services mean nothing",
			change:  func(s *v1alpha1.Sync) { s.ToHost.Services.Enabled = false },
			without: []string{"services", "endpointslices", "pseudonodes"},
		},
		"NoClaims": {
			reason:  "volumes come from claims",
			change:  func(s *v1alpha1.Sync) { s.ToHost.PersistentVolumeClaims.Enabled = false },
			without: []string{"persistentvolumeclaims", "persistentvolumes", "pseudonodes"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sync := v1alpha1.Default().Sync
			test.change(&sync)
			var off []string
			for _, row := range Table() {
				if !row.Enabled(sync) {
					off = append(off, row.Name)
				}
			}
			slices.Sort(off)
			slices.Sort(test.without)
			if !slices.Equal(off, test.without) {
				t.Errorf("%s: off are %v, want %v", test.reason, off, test.without)
			}
		})
	}
}
