package kinds

import (
	cmpstd "cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestTable checks that a kind is complete with its row, its file and its cases.
func TestTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, row := range Table() {
		if !strings.HasPrefix(row.Setting, "sync.toHost.") && !strings.HasPrefix(row.Setting, "sync.fromHost.") {
			t.Errorf("%s: a kind is set below sync.toHost or sync.fromHost", row.Setting)
		}
		if !strings.HasSuffix(row.Doc, ".") || strings.Contains(row.Doc, "\n") {
			t.Errorf("%s: its doc must be one line of whole sentences: %q", row.Setting, row.Doc)
		}
		with, without := row.Kinds()
		if with[0].Name() != row.Name() {
			t.Errorf("%s: its first kind is called %q", row.Setting, with[0].Name())
		}
		if toHost := strings.HasPrefix(row.Setting, "sync.toHost."); toHost != (with[0].Owner() == syncer.Virtual) {
			t.Errorf("%s: its originals are on the %v side", row.Setting, with[0].Owner())
		}
		for _, kind := range slices.Concat(with, without) {
			if seen[kind.Name()] {
				t.Errorf("%s: two kinds have this name", kind.Name())
			}
			seen[kind.Name()] = true
			cases, err := filepath.Glob(filepath.Join("testdata", kind.Name(), "*.in.yaml"))
			if err != nil || len(cases) < 2 {
				t.Errorf("%s: it needs at least two golden cases in testdata, and has %d (%v)", kind.Name(), len(cases), err)
			}
		}
		checkRules(t, row)
	}
	folders, err := filepath.Glob("testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if !seen[filepath.Base(folder)] {
			t.Errorf("%s belongs to no kind of the table", folder)
		}
	}
}

// sharedFiles returns the files that are of no kind.
func sharedFiles() []string {
	return []string{"commonsettings.go", "customresources.go", "doc.go", "hostdriver.go", "hostevents.go", "lookup.go", "mapped.go", "options.go", "origin.go", "podindex.go", "referrers.go", "row.go", "selected.go", "shownnodes.go", "snapshotobjects.go", "table.go"}
}

// furtherFiles maps a file of a larger kind -> the first file of its row.
func furtherFiles() map[string]string {
	return map[string]string{
		"customgeneration.go": "customresources.go", "customproduced.go": "customresources.go", "customreferred.go": "customresources.go",
		"servicelinks.go": "pods.go", "trustbundles.go": "pods.go", "podcertificates.go": "pods.go", "podcertificate.go": "pods.go",
		"eventmessage.go": "events.go", "persistentvolumes.go": "persistentvolumeclaims.go", "volumesnapshotcontents.go": "volumesnapshots.go",
		"exposedservices.go": "services.go", "hostservices.go": "services.go", "replicatedservices.go": "services.go",
		"podinputs.go": "pods.go", "podisolation.go": "pods.go", "podleaving.go": "pods.go", "podscheduling.go": "pods.go",
		"podtrace.go": "pods.go", "podclass.go": "pods.go", "podaccount.go": "pods.go", "podresourceclaims.go": "pods.go", "podvolumes.go": "pods.go", "podreferences.go": "pods.go", "podtopology.go": "pods.go", "snapshotevents.go": "events.go", "podaddresses.go": "endpointslices.go", "tokens.go": "pods.go",
	}
}

// kindFiles returns all files of the package but tests.
func kindFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(file string) bool { return strings.HasSuffix(file, "_test.go") })
}

// TestFiles checks that a row has one file, named after it, except for the files that are
// listed above.
func TestFiles(t *testing.T) {
	t.Parallel()
	want := slices.Concat(sharedFiles(), slices.Collect(maps.Keys(furtherFiles())))
	for _, row := range Table() {
		want = append(want, row.Name()+".go")
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, kindFiles(t)); diff != "" {
		t.Errorf("a kind is one file and one row (-want +got):\n%s", diff)
	}
}

// TestPrivateNames checks that no kind uses a private name of another kind: a function, a type, a
// variable or a constant. What two kinds need is in a shared file, or in package translate.
func TestPrivateNames(t *testing.T) {
	t.Parallel()
	owners := map[string]string{} // private name -> the first file of its row
	parsed := map[string]*ast.File{}
	rowOf := func(file string) string { return cmpstd.Or(furtherFiles()[file], file) }
	for _, name := range kindFiles(t) {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed[name] = file
		if slices.Contains(sharedFiles(), name) {
			continue
		}
		for private := range declaredIn(file) {
			if !ast.IsExported(private) {
				owners[private] = rowOf(name)
			}
		}
	}
	for name, file := range parsed {
		if slices.Contains(sharedFiles(), name) {
			continue
		}
		for _, used := range usedIn(file) {
			if owner, ok := owners[used]; ok && owner != rowOf(name) {
				t.Errorf("%s uses %s of %s", name, used, owner)
			}
		}
	}
}

// checkRules checks that no kind may do more on the host than it needs.
func checkRules(t *testing.T, row Row) {
	t.Helper()
	namespaced, cluster := row.Rules()
	if len(namespaced)+len(cluster) == 0 && !row.Mapped {
		t.Errorf("%s: it asks for no permission, but every kind watches the host", row.Setting)
	}
	for _, rule := range cluster {
		if !slices.Equal(rule.Verbs, read()) {
			t.Errorf("%s: cluster-wide permissions are for reading only: %v", row.Setting, rule)
		}
	}
	for _, further := range row.Further {
		for _, rule := range further.ClusterRules {
			patchesNodes := row.Name() == "nodes" && slices.Equal(rule.Verbs, patch()) && slices.Equal(rule.Resources, []string{"nodes"})
			patchesVolumes := row.Name() == "persistentvolumeclaims" && slices.Equal(rule.Verbs, []string{"get", "patch"}) && slices.Equal(rule.Resources, []string{"persistentvolumes"})
			if !patchesNodes && !patchesVolumes && !slices.Equal(rule.Verbs, []string{"list"}) {
				t.Errorf("%s: the only writes in the whole host are patches of nodes and volumes that an operator allows: %v", row.Setting, rule)
			}
		}
	}
	for _, rule := range slices.Concat(namespaced, cluster) {
		if with, _ := row.Kinds(); with[0].Owner() == syncer.Host && !slices.Equal(rule.Verbs, read()) {
			t.Errorf("%s: a kind that the host owns is only read: %v", row.Setting, rule)
		}
		if !slices.IsSorted(rule.Verbs) || slices.Contains(rule.Verbs, "*") || slices.Contains(rule.Resources, "*") {
			t.Errorf("%s: a rule names its verbs, sorted, and its resources: %v", row.Setting, rule)
		}
	}
}

// TestPermissions checks that whatever the kinds watch on the host is permitted, under
// each combination of settings that changes what they watch.
func TestPermissions(t *testing.T) {
	t.Parallel()
	all := v1alpha1.NodeSelector{All: true}
	for _, nodesOn := range []bool{true, false} {
		for _, selector := range []v1alpha1.NodeSelector{all, {}, {Labels: map[string]string{"a": "b"}}} {
			o := testOptions()
			o.VirtualScheduler = nodesOn && (selector.All || len(selector.Labels) > 0)
			o.Sync.FromHost.Nodes.Selector = selector
			o.Sync.Kinds["sync.fromHost.nodes"] = v1alpha1.KindSettings{Enabled: nodesOn}
			var permitted []rbacv1.PolicyRule
			for _, row := range Table() {
				rules := row.Rules
				if !row.Enabled(o.Sync) {
					rules = row.RulesIfOff
				}
				namespaced, cluster := rules()
				permitted = slices.Concat(permitted, namespaced, cluster)
			}
			for _, row := range Table() {
				if row.Mapped {
					continue // TestFromHost of the chart checks it.
				}
				for _, kind := range row.Define(o) {
					checkWatches(t, kind, permitted)
				}
			}
		}
	}
}

func checkWatches(t *testing.T, kind syncer.Kind, permitted []rbacv1.PolicyRule) {
	t.Helper()
	watched := []client.Object{kind.NewHost()}
	for _, watch := range kind.Watches() {
		if watch.Side == syncer.Host {
			watched = append(watched, watch.Object)
		}
	}
	for _, object := range watched {
		gvk, err := apiutil.GVKForObject(object, scheme.Scheme)
		if err != nil {
			t.Fatal(err)
		}
		plural, _ := meta.UnsafeGuessKindToResource(gvk)
		if !covers(permitted, gvk.Group, plural.Resource) {
			t.Errorf("%s watches %s on the host without a permission", kind.Name(), plural.Resource)
		}
	}
}

func TestEnabled(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		off    string
		want   string // a kind that comes instead
		gone   []string
	}{
		"Defaults": {reason: "real nodes take the place of pseudo nodes"},
		"NoNodes":  {reason: "without real nodes there are pseudo nodes", off: "sync.fromHost.nodes", gone: []string{"nodes"}, want: "pseudonodes"},
		"NoClaims": {reason: "volumes come from claims", off: "sync.toHost.persistentVolumeClaims", gone: []string{"persistentvolumeclaims", "persistentvolumes"}},
		"NoPods":   {reason: "pods are always on", off: "sync.toHost.pods"},
	}
	running := func(o Options) []string {
		var names []string
		for _, row := range Table() {
			for _, kind := range row.Define(o) {
				names = append(names, kind.Name())
			}
		}
		return names
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions()
			want := slices.DeleteFunc(running(o), func(name string) bool { return slices.Contains(test.gone, name) })
			if test.want != "" {
				want = append(want, test.want)
			}
			if test.off != "" {
				o.Sync.Kinds[test.off] = v1alpha1.KindSettings{}
			}
			got := running(o)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s: got %v, want %v", test.reason, got, want)
			}
		})
	}
}

// TestRowFromValues makes a row for a type that is known only at run time, as a custom
// resource will be.
func TestRowFromValues(t *testing.T) {
	t.Parallel()
	widget := func() *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"})
		return u
	}
	r := row("sync.toHost.widgets", Off, "The tenant's widgets.", func(Options) syncer.Resource[*unstructured.Unstructured, *unstructured.Unstructured] {
		return syncer.Resource[*unstructured.Unstructured, *unstructured.Unstructured]{
			Owner: syncer.Virtual, Names: translate.Hashed, NewVirtual: widget, NewHost: widget,
		}
	})
	o := testOptions()
	if kinds := r.Define(o); len(kinds) > 0 {
		t.Errorf("a kind that is off runs: %v", kinds)
	}
	o.Sync.Kinds["sync.toHost.widgets"] = v1alpha1.KindSettings{Enabled: true}
	kinds := r.Define(o)
	if len(kinds) != 1 || kinds[0].Name() != "widgets" {
		t.Fatalf("want the kind widgets, got %v", kinds)
	}
	want := []rbacv1.PolicyRule{rule(manage(), "example.com", "widgets")}
	if namespaced, cluster := r.Rules(); !cmp.Equal(namespaced, want) || len(cluster) > 0 {
		t.Errorf("its permissions are %v and %v", namespaced, cluster)
	}
}

// TestLeftoversOfTheHost checks which copies of host objects go when their kind is switched off. A pod that names
// a missing runtime class or priority class is denied, so these stay.
func TestLeftoversOfTheHost(t *testing.T) {
	t.Parallel()
	want := []string{
		"volumesnapshotclasses", "csidrivers", "csinodes", "csistoragecapacities", "deviceclasses", "resourceslices", "ingressclasses",
	}
	var got []string
	for _, row := range Table() {
		for _, left := range row.Leftovers(Options{}) {
			if left.Kind.Owner() == syncer.Host {
				got = append(got, left.Kind.Name())
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLeftoversOfCustomResources checks that no row deletes or reports copies of what is on as a custom resource.
func TestLeftoversOfCustomResources(t *testing.T) {
	t.Parallel()
	var o Options
	o.Sync.FromHost.CustomResources = map[string]v1alpha1.HostCustomResource{"volumesnapshotclasses.snapshot.storage.k8s.io": {Enabled: true}}
	o.Sync.ToHost.CustomResources = map[string]v1alpha1.CustomResource{"volumesnapshots.snapshot.storage.k8s.io/v1": {Enabled: true}}
	for _, row := range Table() {
		for _, left := range row.Leftovers(o) {
			if name := left.Kind.Name(); name == "volumesnapshotclasses" || name == "volumesnapshots" {
				t.Errorf("the copies of %s are taken for those of a kind that is off", name)
			}
		}
	}
}

// TestLeftoverRules checks what a row that is switched off may do with its copies.
func TestLeftoverRules(t *testing.T) {
	t.Parallel()
	want := map[string]string{ // row -> verbs, for rows that have any
		"services": "delete,list", "endpointslices": "delete,list", "configmaps": "delete,list", "secrets": "delete,list",
		"persistentvolumeclaims": "list", "networkpolicies": "delete,list", "poddisruptionbudgets": "delete,list",
	}
	got := map[string]string{}
	for _, row := range Table() {
		namespaced, cluster := row.LeftoverRules()
		for _, rule := range slices.Concat(namespaced, cluster) {
			got[row.Name()] = strings.Join(rule.Verbs, ",")
		}
		left := slices.DeleteFunc(row.Leftovers(Options{}), func(l syncer.Leftover) bool { return l.Kind.Owner() == syncer.Host })
		if (len(namespaced)+len(cluster) > 0) != (len(left) > 0 && row.State == On) {
			t.Errorf("%s: %d rules for %d kinds that leave copies", row.Name(), len(namespaced)+len(cluster), len(left))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("permissions on copies from before (-want +got):\n%s", diff)
	}
}
