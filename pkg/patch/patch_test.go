package patch

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/translate"
)

func testCluster() translate.Cluster {
	return translate.Cluster{UID: "u1", Name: "shop", Namespace: "tenant-shop"}
}

func tree(t testing.TB, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return toInts(out).(map[string]any)
}

// toInts makes whole numbers of a tree int64, as in objects of the API.
func toInts(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key := range value {
			value[key] = toInts(value[key])
		}
	case []any:
		for i := range value {
			value[i] = toInts(value[i])
		}
	case float64:
		if value == float64(int64(value)) {
			return int64(value)
		}
	}
	return value
}

func compile(t testing.TB, o Options, patches ...v1alpha1.Patch) *Set {
	t.Helper()
	o.Setting = "sync.toHost.things"
	set, problems := Compile(patches, o)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

// TestDown patches copies that are new.
func TestDown(t *testing.T) {
	t.Parallel()
	own := translate.Hashed(testCluster(), types.NamespacedName{Namespace: "a", Name: "web"}).Name
	for _, c := range []struct {
		reason             string
		patch              v1alpha1.Patch
		original, copy     string
		want, wantErr      string
		withoutOriginalKey bool
	}{
		{
			reason: "value is that of the original", patch: v1alpha1.Patch{Path: "spec.host", Expression: `"x-" + value`},
			original: "spec: {host: a}", copy: "spec: {host: translated}", want: "spec: {host: x-a}",
		},
		{
			reason: "a constant creates what is above it", patch: v1alpha1.Patch{Path: "spec.a.b", Expression: `3`},
			original: "{}", copy: "{}", want: "spec: {a: {b: 3}}",
		},
		{
			reason: "null removes", patch: v1alpha1.Patch{Path: "spec.host", Expression: `null`},
			original: "spec: {host: a}", copy: "spec: {host: a, b: 1}", want: "spec: {b: 1}",
		},
		{
			reason: "items of lists are found by their name", patch: v1alpha1.Patch{Path: "spec.items[*].image", Expression: `"r/" + value`},
			original: "spec: {items: [{name: a, image: i}, {name: b, image: j}]}",
			copy:     "spec: {items: [{name: injected, image: z}, {name: b, image: j}, {name: a, image: i}]}",
			want:     "spec: {items: [{name: injected, image: z}, {name: b, image: r/j}, {name: a, image: r/i}]}",
		},
		{
			reason: "several items of a name", patch: v1alpha1.Patch{Path: "spec.mounts[*].path", Expression: `"/x" + value`, When: `value != "/keep"`},
			original: "spec: {mounts: [{name: a, path: /keep}, {name: a, path: /i}, {name: b, path: /j}, {name: a, path: /k}]}",
			copy:     "spec: {mounts: [{name: injected, path: /z}, {name: a, path: /keep}, {name: a, path: /i}, {name: b, path: /j}, {name: a, path: /k}]}",
			want:     "spec: {mounts: [{name: injected, path: /z}, {name: a, path: /keep}, {name: a, path: /x/i}, {name: b, path: /x/j}, {name: a, path: /x/k}]}",
		},
		{
			reason: "values of maps", patch: v1alpha1.Patch{Path: "data[*]", Expression: `value + "!"`},
			original: "data: {a: i, b: j}", copy: "data: {a: i, b: j}", want: "data: {a: i!, b: j!}",
		},
		{
			reason: "bytes are written as in data of Secrets", patch: v1alpha1.Patch{Path: "data[*]", Expression: `bytes(name + "?>")`},
			original: "data: {a: aQ==}", copy: "data: {a: aQ==}", want: "data: {a: d2ViPz4=}",
		},
		{
			reason: "bytes in lists too", patch: v1alpha1.Patch{Path: "spec.a", Expression: `[b"web", b""]`},
			original: "{}", copy: "{}", want: "spec: {a: [d2Vi, '']}",
		},
		{
			reason: "a key in brackets", patch: v1alpha1.Patch{Path: `metadata.labels["example.com/team"]`, Expression: `__namespace__ + "-" + name`},
			original: "{}", copy: "metadata: {labels: {b: c}}", want: "metadata: {labels: {b: c, example.com/team: a-web}}",
		},
		{
			reason: "the condition holds", patch: v1alpha1.Patch{Path: "spec.a", Expression: `object.spec.b`, When: `has(object.spec.b)`},
			original: "spec: {b: 1}", copy: "spec: {b: 1}", want: "spec: {a: 1, b: 1}",
		},
		{
			reason: "the condition does not hold", patch: v1alpha1.Patch{Path: "spec.a", Expression: `object.spec.b`, When: `has(object.spec.b)`},
			original: "spec: {}", copy: "spec: {}", want: "spec: {}",
		},
		{
			reason: "names of the host", patch: v1alpha1.Patch{Path: "spec.a", Expression: `cluster.hostName(__namespace__, name) + "." + cluster.namespace + "." + cluster.name`},
			original: "{}", copy: "{}", want: "spec: {a: " + own + ".tenant-shop.shop}",
		},
		{
			reason: "the name of the copy", patch: v1alpha1.Patch{Path: "spec.a", Expression: `other.metadata.namespace + "/" + other.metadata.name`},
			original: "{}", copy: "{}", want: "spec: {a: tenant-shop/copy}",
		},
		{
			reason: "nothing else of the copy", patch: v1alpha1.Patch{Path: "spec.a", Expression: `other.spec.b`},
			original: "spec: {b: 1}", copy: "spec: {b: 1}", wantErr: "no such key: spec",
		},
		{
			reason: "names of the virtual cluster", patch: v1alpha1.Patch{Path: "spec.a", Expression: `[cluster.virtualName(value, __namespace__, ["x", name]), cluster.virtualName("other", __namespace__, [name])]`},
			original: "spec: {a: " + own + "}", copy: "{}", want: "spec: {a: [web, other]}",
		},
		{
			reason: "an error of the expression", patch: v1alpha1.Patch{Path: "spec.a", Expression: `object.spec.nothing`},
			original: "spec: {}", copy: "{}", wantErr: "sync.toHost.things.patches[0]: cannot evaluate it: no such key: nothing",
		},
		{
			reason: "too much to compute", patch: v1alpha1.Patch{Path: "spec.a", Expression: `object.items.all(a, object.items.all(b, object.items.all(c, a + b + c != 1)))`},
			original: "items: [" + strings.Repeat("1, ", 80) + "1]", copy: "{}", wantErr: "cost",
		},
		{
			reason: "a text that doubles", patch: v1alpha1.Patch{Path: "spec.a", Expression: `value` + strings.Repeat(`.replace("a", "aaaaaaaaaa")`, 8)},
			original: "spec: {a: aaaaaaaaaa}", copy: "{}", wantErr: "cost",
		},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			set := compile(t, Options{}, c.patch)
			change := Change{
				Cluster: testCluster(), Virtual: types.NamespacedName{Namespace: "a", Name: "web"},
				Original: tree(t, c.original), Copy: tree(t, c.copy),
				CopyKey: types.NamespacedName{Namespace: "tenant-shop", Name: "copy"},
			}
			_, err := set.Down(change)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Fatalf("want %q, got %v", c.wantErr, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tree(t, c.want), change.Copy); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tree(t, c.original), change.Original); diff != "" {
				t.Errorf("The original must stay (-want +got):\n%s", diff)
			}
		})
	}
}

// TestContent patches the content of custom resources, in which references have names of the host by then.
func TestContent(t *testing.T) {
	t.Parallel()
	set := compile(t, Options{Content: true},
		v1alpha1.Patch{Path: "spec.parents[*].section", Expression: `"tenants"`},
		v1alpha1.Patch{Path: "spec.rules[*].backends[*].weight", Expression: `value + 1`, When: "value != null"})
	change := Change{
		Cluster:  testCluster(),
		Original: tree(t, "spec: {parents: [{name: gateway, section: all}], rules: [{backends: [{name: a}, {name: a, weight: 2}]}]}"),
		Copy:     tree(t, "spec: {parents: [{name: shared, section: all}], rules: [{backends: [{name: a-hash}, {name: a-hash, weight: 2}]}]}"),
	}
	if err := set.Content(change); err != nil {
		t.Fatal(err)
	}
	want := tree(t, "spec: {parents: [{name: shared, section: tenants}], rules: [{backends: [{name: a-hash}, {name: a-hash, weight: 3}]}]}")
	if diff := cmp.Diff(want, change.Copy); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestUp patches what comes back from the host.
func TestUp(t *testing.T) {
	t.Parallel()
	set := compile(t, Options{},
		v1alpha1.Patch{Path: "status.hosts[*].ip", Reverse: `"hidden"`}, v1alpha1.Patch{Path: "spec.a", Expression: "1"},
		v1alpha1.Patch{Path: "status.phase", Reverse: `value + " of " + string(other.spec.size) + (has(other.status) ? " with status" : "")`})
	change := Change{
		Cluster: testCluster(), Original: tree(t, "status: {phase: Ready, hosts: [{ip: a}, {ip: b}]}"),
		Copy: tree(t, "{spec: {size: 3}, status: {phase: Ready, hosts: [{ip: a}, {ip: b}]}}"),
	}
	if err := set.Up(change); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, "{spec: {size: 3}, status: {phase: Ready of 3, hosts: [{ip: hidden}, {ip: hidden}]}}"), change.Copy); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestKeepsWhatTheHostHasChanged patches copies that exist.
func TestKeepsWhatTheHostHasChanged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason                 string
		options                Options
		patch, before          v1alpha1.Patch
		original, copy, exists string // copy is what Down makes of what exists
		noRecord               bool
		want                   string
	}{
		{
			reason: "the host has added a default", patch: v1alpha1.Patch{Path: "spec.a", Expression: `{"x": "1"}`},
			original: "{}", copy: "spec: {a: null}", exists: "spec: {a: {x: '1', default: y}}", want: "spec: {a: {x: '1', default: y}}",
		},
		{
			reason: "the value has changed since", patch: v1alpha1.Patch{Path: "spec.a", Expression: `value + "!"`}, before: v1alpha1.Patch{Path: "spec.a", Expression: `"old"`},
			original: "spec: {a: new}", copy: "spec: {a: new}", exists: "spec: {a: old}", want: "spec: {a: new!}",
		},
		{
			reason: "the host has changed one of several items of a name", patch: v1alpha1.Patch{Path: "spec.a[*].b", Expression: `value + "!"`},
			original: "spec: {a: [{name: n, b: i}, {name: n, b: j}]}", copy: "spec: {a: [{name: n, b: i}, {name: n, b: j}]}",
			exists: "spec: {a: [{name: n, b: i!}, {name: n, b: host}]}", want: "spec: {a: [{name: n, b: i!}, {name: n, b: host}]}",
		},
		{
			reason: "a spec that the host does not let change", options: Options{Immutable: true}, patch: v1alpha1.Patch{Path: "spec.a", Expression: `"x"`}, noRecord: true,
			original: "{}", copy: "spec: {a: b}", exists: "spec: {a: b}", want: "spec: {a: b}",
		},
		{
			reason: "a field of such a spec that changes", options: Options{Immutable: true}, patch: v1alpha1.Patch{Path: "spec.a", Expression: `"r/" + value`}, noRecord: true,
			original: "spec: {a: new}", copy: "spec: {a: new}", exists: "spec: {a: old}", want: "spec: {a: r/new}",
		},
		{
			reason: "a label that is no longer patched", patch: v1alpha1.Patch{Path: "spec.a", Expression: `"x"`}, before: v1alpha1.Patch{Path: `metadata.labels["b"]`, Expression: `"x"`},
			original: "{}", copy: "metadata: {labels: {b: x, c: d}}", exists: "metadata: {labels: {b: x, c: d}}", want: "{metadata: {labels: {c: d}}, spec: {a: x}}",
		},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			if c.before.Path == "" {
				c.before = c.patch
			}
			change := Change{Cluster: testCluster(), Original: tree(t, c.original), Copy: tree(t, c.copy)}
			record, err := compile(t, Options{}, c.before).Down(change)
			if err != nil {
				t.Fatal(err)
			}
			if c.noRecord {
				record = ""
			}
			change.Copy, change.Before, change.Record = tree(t, c.copy), tree(t, c.exists), record
			if _, err := compile(t, c.options, c.patch).Down(change); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tree(t, c.want), change.Copy); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestWrong compiles patches that are wrong.
func TestWrong(t *testing.T) {
	t.Parallel()
	ingress, pod := OfType(&networkingv1.Ingress{}), OfType(&corev1.Pod{})
	for _, c := range []struct {
		reason string
		schema Schema
		patch  v1alpha1.Patch
		want   string // without sync.toHost.things.patches[0].
	}{
		{"an unknown variable", nil, v1alpha1.Patch{Path: "spec.a", Expression: "val"}, "expression: line 1, column 1: undeclared reference to 'val' (in container '')"},
		{"in the second line", nil, v1alpha1.Patch{Path: "spec.a", Expression: "value +\n  val"}, "expression: line 2, column 3: undeclared reference to 'val' (in container '')"},
		{"a reserved word", nil, v1alpha1.Patch{Path: "spec.a", Expression: "namespace"}, "expression: line 1, column 1: reserved identifier: namespace; write __namespace__"},
		{"no CEL", nil, v1alpha1.Patch{Path: "spec.a", Expression: "value +"}, "expression: line 1, column 8: Syntax error: mismatched input '<EOF>'"},
		{"an unknown function", nil, v1alpha1.Patch{Path: "spec.a", Expression: "shout(value)"}, "expression: line 1, column 6: undeclared reference to 'shout'"},
		{"a wrong argument", nil, v1alpha1.Patch{Path: "spec.a", Expression: `cluster.hostName(name)`}, "expression: line 1, column 17: found no matching overload for 'hostName'"},
		{"when is no truth", nil, v1alpha1.Patch{Path: "spec.a", Expression: "1", When: `"yes"`}, "when: line 1, column 1: it gives string, but the field is true or false"},
		{"when does not compile", nil, v1alpha1.Patch{Path: "spec.a", Expression: "1", When: `has(object)`}, "when: line 1, column 5: invalid argument to has() macro"},
		{"a field that does not exist", ingress, v1alpha1.Patch{Path: "spec.ingressClas", Expression: `"x"`}, "path: no field ingressClas in spec; the fields there are defaultBackend, ingressClassName, rules, tls"},
		{"a field of the object", ingress, v1alpha1.Patch{Path: "specs.a", Expression: `"x"`}, "path: no field specs in the object; the fields there are apiVersion, kind, metadata, spec, status"},
		{"items of a text", ingress, v1alpha1.Patch{Path: "spec.ingressClassName[*]", Expression: `"x"`}, "path: spec.ingressClassName is text, so it has no items"},
		{"a field of a text", ingress, v1alpha1.Patch{Path: "spec.ingressClassName.a", Expression: `"x"`}, "path: spec.ingressClassName is text, so it has no field a"},
		{"a list without items", ingress, v1alpha1.Patch{Path: "spec.rules.host", Expression: `"x"`}, "path: spec.rules is a list, so it has no field host"},
		{"a number for a text", ingress, v1alpha1.Patch{Path: "spec.rules[*].host", Expression: `1`}, "expression: line 1, column 1: it gives int, but the field is text"},
		{"a text for a number", pod, v1alpha1.Patch{Path: "spec.terminationGracePeriodSeconds", Expression: `"1"`}, "expression: line 1, column 1: it gives string, but the field is a whole number"},
		{"a fraction for a whole number", pod, v1alpha1.Patch{Path: "spec.terminationGracePeriodSeconds", Expression: `1.5`}, "expression: line 1, column 1: it gives double, but the field is a whole number"},
		{"a text for a list", pod, v1alpha1.Patch{Path: "spec.tolerations", Expression: `"x"`}, "expression: line 1, column 1: it gives string, but the field is a list"},
		{"a list for a map", pod, v1alpha1.Patch{Path: "spec.nodeSelector", Expression: `["x"]`}, "expression: line 1, column 1: it gives list(string), but the field is a map"},
		{"a text for a truth", pod, v1alpha1.Patch{Path: "spec.hostNetwork", Expression: `"false"`}, "expression: line 1, column 1: it gives string, but the field is true or false"},
		{"a value is a text", pod, v1alpha1.Patch{Path: "spec.hostname", Expression: `value + 1`}, "expression: line 1, column 7: found no matching overload for '_+_'"},
		{"reverse does not compile", pod, v1alpha1.Patch{Path: "status.hostIP", Reverse: `valu`}, "reverse: line 1, column 1: undeclared reference to 'valu'"},
		{"too long", nil, v1alpha1.Patch{Path: "spec.a", Expression: strings.Repeat("1+", 5000) + "1"}, "expression: has 10001 bytes; the limit is 8192"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			_, problems := Compile([]v1alpha1.Patch{c.patch}, Options{Setting: "sync.toHost.things", Schema: c.schema})
			if len(problems) != 1 {
				t.Fatalf("want one problem, got %v", problems)
			}
			got := strings.TrimPrefix(problems[0].Path, "sync.toHost.things.patches[0].") + ": " + problems[0].Detail
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("want %q\n got %q", c.want, got)
			}
		})
	}
}

// TestOverlaps refuses two patches of one field.
func TestOverlaps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, one, other string
		want               bool
	}{
		{"the same field", "spec.a", "spec.a", true},
		{"a part of it", "spec", "spec.a", true},
		{"an item of it", "spec.a[*].b", "spec.a", true},
		{"a key of a map", "data[*]", `data["a"]`, true},
		{"neighbours", "spec.a", "spec.b", false},
		{"fields of items", "spec.a[*].b", "spec.a[*].c", false},
	} {
		_, problems := Compile([]v1alpha1.Patch{{Path: c.one, Expression: "1"}, {Path: c.other, Expression: "1"}}, Options{Setting: "s"})
		if (len(problems) == 1) != c.want {
			t.Errorf("%s: got %v", c.reason, problems)
		}
	}
}
