package v1alpha1

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testKinds returns the kinds that combinations name.
func testKinds() []Kind {
	kinds := []Kind{{Setting: "sync.toHost.volumeSnapshots"}, {Setting: "sync.fromHost.volumeSnapshotClasses"}, {Setting: "sync.fromHost.runtimeClasses"}, {Setting: "sync.toHost.resourceClaims"}, {Setting: "sync.fromHost.deviceClasses"}, {Setting: "sync.fromHost.resourceSlices"}}
	for _, name := range []string{
		"toHost.services", "toHost.endpointSlices", "toHost.configMaps", "toHost.secrets", "toHost.persistentVolumeClaims", "fromHost.nodes",
	} {
		kinds = append(kinds, Kind{Setting: "sync." + name, Enabled: true})
	}
	return kinds
}

// TestDefaultsAreGood checks every default against the rule of its field, and
// all of them against the combinations.
func TestDefaultsAreGood(t *testing.T) {
	t.Parallel()
	var walk func(path string, value reflect.Value)
	walk = func(path string, value reflect.Value) {
		if value.Kind() != reflect.Struct || value.Type().PkgPath() != reflect.TypeFor[Config]().PkgPath() {
			return
		}
		for i := range value.NumField() {
			field := value.Type().Field(i)
			name, option, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			if name == "" || option != "" {
				t.Errorf("%s.%s: every key must have a name and must always be written", path, field.Name)
			}
			checkDefault(t, path+"."+name, value.Field(i), RuleOf(field))
			walk(path+"."+name, value.Field(i))
		}
	}
	walk("", reflect.ValueOf(*Default(testKinds()...)))
	for _, combination := range Combinations() {
		if combination.Violated(Default(testKinds()...)) {
			t.Errorf("the defaults break %s: %s", combination.Name, combination.Detail)
		}
	}
}

func checkDefault(t *testing.T, path string, value reflect.Value, rule Rule) {
	t.Helper()
	problem := ""
	switch value.Kind() {
	case reflect.String:
		problem = rule.CheckString(value.String())
	case reflect.Int32:
		if rule.Min == nil || rule.Max == nil {
			t.Errorf("%s: a number needs bounds", path)
			return
		}
		problem = rule.CheckNumber(value.Int())
	case reflect.Slice:
		for i := range value.Len() {
			if item := value.Index(i); item.Kind() == reflect.String {
				problem += rule.CheckString(item.String())
			}
		}
	case reflect.Map:
		if rule.Keys == nil {
			t.Errorf("%s: the keys of a map need a form", path)
		}
	}
	if problem != "" {
		t.Errorf("%s: the default %v %s", path, value, problem)
	}
}

// TestDefaultIsFresh checks that nobody can change the defaults of others.
func TestDefaultIsFresh(t *testing.T) {
	t.Parallel()
	first := Default()
	first.ControlPlane.StatefulSet.Labels["a"] = "b"
	first.ControlPlane.StatefulSet.Resources.Limits["cpu"] = first.ControlPlane.StatefulSet.Persistence.VolumeClaim.Size
	first.ControlPlane.StatefulSet.Persistence.VolumeClaim.AccessModes[0] = "other"
	second := Default()
	if len(second.ControlPlane.StatefulSet.Labels) > 0 || len(second.ControlPlane.StatefulSet.Resources.Limits) != 1 ||
		second.ControlPlane.StatefulSet.Persistence.VolumeClaim.AccessModes[0] == "other" {
		t.Errorf("a change of one default shows in the next: %+v", second.ControlPlane.StatefulSet)
	}
}

// TestCombinationsNamePaths checks that the keys of combinations exist.
func TestCombinationsNamePaths(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(Default(testKinds()...))
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, combination := range Combinations() {
		if names[combination.Name] {
			t.Errorf("two combinations are called %s", combination.Name)
		}
		names[combination.Name] = true
		for _, path := range append([]string{combination.Path}, combination.With...) {
			var node any = tree
			for key := range strings.SplitSeq(path, ".") {
				below, _ := node.(map[string]any)
				value, found := below[key]
				if !found && !strings.Contains(path, ".resources.") {
					t.Errorf("%s: there is no %s", combination.Name, path)
				}
				node = value
			}
		}
	}
}

func TestServingNames(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		sans   []string
		server string
		want   []string
	}{
		"nothing":      {"the control plane knows its own names", nil, "", nil},
		"sans":         {"extra names are taken as they are", []string{"a.example.com"}, "", []string{"a.example.com"}},
		"server":       {"kubectl checks the host of the URL", nil, "https://a.example.com:8443/x", []string{"a.example.com"}},
		"both":         {"no name twice", []string{"a.example.com"}, "https://a.example.com", []string{"a.example.com"}},
		"IPv6":         {"no IP twice, however it is written", []string{"2001:db8::1"}, "https://[2001:0db8::1]:443", []string{"2001:db8::1"}},
		"an IP":        {"an IP is a name, too", nil, "https://192.0.2.1", []string{"192.0.2.1"}},
		"another name": {"both are needed", []string{"b.example.com"}, "https://a.example.com", []string{"b.example.com", "a.example.com"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := Default()
			config.ControlPlane.Proxy.ExtraSANs, config.ExportKubeConfig.Server = c.sans, c.server
			if diff := cmp.Diff(c.want, config.ServingNames()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestSyncJSON(t *testing.T) {
	t.Parallel()
	kinds := append(testKinds(), Kind{Setting: "sync.toHost.leases"}, Kind{Setting: "sync.toHost.pods", Always: true})
	cases := map[string]struct {
		reason, text string
		want         func(*Sync)
		wantErr      string
	}{
		"nothing": {"defaults stay", `{}`, func(*Sync) {}, ""},
		"a kind": {"its neighbours keep their defaults", `{"toHost":{"leases":{"enabled":true}}}`,
			func(s *Sync) { s.Kinds["sync.toHost.leases"] = KindSettings{Enabled: true} }, ""},
		"both": {"one path has both sorts of settings", `{"toHost":{"secrets":{"enabled":false,"all":true}}}`,
			func(s *Sync) { s.Kinds["sync.toHost.secrets"], s.ToHost.Secrets.All = KindSettings{}, true }, ""},
		"unknown kind": {"a typing error must not pass", `{"toHost":{"lease":{"enabled":true}}}`, nil, "sync.toHost.lease: no such kind"},
		"unknown key":  {"a typing error must not pass", `{"toHost":{"secrets":{"al":true}}}`, nil, `unknown field "al"`},
		"not a bool":   {"the type counts", `{"toHost":{"secrets":{"enabled":"yes"}}}`, nil, "sync.toHost.secrets.enabled"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Default(kinds...).Sync
			err := json.Unmarshal([]byte(c.text), &got)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Errorf("%s: got %v, want %q", c.reason, err, c.wantErr)
				}
				return
			}
			want := Default(kinds...).Sync
			c.want(&want)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", c.reason, err, diff)
			}
			data, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			again := Default(kinds...).Sync
			if err := json.Unmarshal(data, &again); err != nil || !cmp.Equal(got, again) {
				t.Errorf("%s does not come back as it went: %v", data, err)
			}
		})
	}
}
