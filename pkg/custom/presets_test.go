package custom

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// presetCases are a file in testdata/presets.
type presetCases struct {
	// Schemas are those of the kinds of the tenant. They have the fields of the real ones that
	// refer to something, and some others. The title "free" marks where any text may be.
	Schemas map[string]apiextensionsv1.JSONSchemaProps `json:"schemas"`
	// Mappings are those of kinds of the host with a namespace.
	Mappings map[string]map[string]string `json:"mappings"`
	// Shown are the objects of the host that the tenant sees, as resource/namespace/name.
	Shown []string `json:"shown"`
	// Cases are objects of the namespace web. In want, <RESOURCE NAME> is the name on the host.
	Cases []struct {
		Reason string         `json:"reason"`
		Kind   string         `json:"kind"`
		Object map[string]any `json:"object"`
		Want   map[string]any `json:"want"`
		// Denied are the paths of the fields that are denied.
		Denied []string `json:"denied"`
	} `json:"cases"`

	sync presetSync
}

// presetSync has the kinds of a preset.
type presetSync struct {
	ToHost struct {
		CustomResources map[string]v1alpha1.CustomResource `json:"customResources"`
	} `json:"toHost"`
	FromHost struct {
		CustomResources map[string]v1alpha1.HostCustomResource `json:"customResources"`
	} `json:"fromHost"`
}

// eachPreset calls test for each preset of the chart. Each must have cases.
func eachPreset(t *testing.T, test func(t *testing.T, c *presetCases)) {
	t.Helper()
	files, err := filepath.Glob("../../chart/presets/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no presets: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			t.Parallel()
			var preset struct {
				Sync presetSync `json:"sync"`
			}
			data, err := os.ReadFile(path)
			if err == nil {
				err = yaml.Unmarshal(data, &preset)
			}
			if err != nil {
				t.Fatal(err)
			}
			c := &presetCases{}
			if data, err = os.ReadFile(filepath.Join("testdata/presets", filepath.Base(path))); err == nil {
				err = yaml.UnmarshalStrict(data, c)
			}
			if err != nil {
				t.Fatal(err)
			}
			c.sync = preset.Sync
			test(t, c)
		})
	}
}

// plan compiles the plan of a kind, as the server does.
func (c *presetCases) plan(t testing.TB, resource string) *Plan {
	t.Helper()
	schema, ok := c.Schemas[resource]
	if !ok {
		t.Fatalf("%s has no schema", resource)
	}
	settings := c.sync.ToHost.CustomResources[resource]
	plan, err := Compile(&schema, Options{
		Setting: resource, References: settings.References, AllowedFields: settings.AllowedFields,
		Images: testImages(), MaxGracePeriodSeconds: 3600,
		Synced: func(resource string) bool { return c.sync.ToHost.CustomResources[resource].Enabled },
		FromHost: func(resource string) *v1alpha1.HostCustomResource {
			kind, ok := c.sync.FromHost.CustomResources[resource]
			if !ok {
				return nil
			}
			kind.Mappings.ByName = c.Mappings[resource]
			return &kind
		},
		Shown: func(resource, namespace, name string) bool {
			return slices.Contains(c.Shown, resource+"/"+namespace+"/"+name)
		},
		AllowsHost: func(host string) bool { return strings.HasSuffix(host, ".shop.example.com") },
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// withNumbers returns an object with a spec, whose numbers have the types that API servers give them.
func withNumbers(t *testing.T, spec map[string]any) map[string]any {
	t.Helper()
	text, err := yaml.Marshal(map[string]any{"spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	return objectOf(t, string(text))
}

// testImages returns rules for images of one registry, which the host pulls from another one.
func testImages() Images {
	const registry = "registry.example.com/"
	return Images{
		Deny: func(image string) (detail, setting string) {
			if strings.HasPrefix(image, registry) {
				return "", ""
			}
			return "not allowed", "policies.images.allowed"
		},
		Translate:  func(image string) string { return strings.Replace(image, registry, "mirror.example.com/", 1) },
		AlwaysPull: true,
	}
}

// hostNamesIn replaces <RESOURCE NAME> in a value by the name on the host, and <label KEY> in a key.
func hostNamesIn(value any, owner string) any {
	switch value := value.(type) {
	case string:
		resource, name, ok := strings.Cut(strings.Trim(value, "<>"), " ")
		if !ok || !strings.HasPrefix(value, "<") {
			return value
		}
		scheme := translate.Scheme(translate.Hashed)
		if resource == secrets || resource == configMaps {
			scheme = translate.Derived(Role(owner))
		}
		if resource == "produced" {
			scheme = translate.Derived(ProducedRole(owner))
		}
		return scheme(cluster(), types.NamespacedName{Namespace: "web", Name: name}).Name
	case []any:
		for i := range value {
			value[i] = hostNamesIn(value[i], owner)
		}
	case map[string]any:
		for _, key := range slices.Collect(maps.Keys(value)) {
			inner := hostNamesIn(value[key], owner)
			delete(value, key)
			if label, ok := strings.CutPrefix(strings.Trim(key, "<>"), "label "); ok {
				key = translate.TenantLabel(label)
			}
			value[key] = inner
		}
	}
	return value
}

// TestPresets gives objects to the plans of the presets. Each kind has a case that passes and
// one that is refused.
func TestPresets(t *testing.T) {
	t.Parallel()
	eachPreset(t, func(t *testing.T, c *presetCases) {
		passed, refused := map[string]bool{}, map[string]bool{}
		for _, test := range c.Cases {
			plan := c.plan(t, test.Kind)
			content := withNumbers(t, test.Object)
			var denied []string
			for _, problem := range plan.Check(content, "web") {
				denied = append(denied, problem.Path)
			}
			if diff := cmp.Diff(test.Denied, denied); diff != "" {
				t.Errorf("%s: denied (-want +got):\n%s", test.Reason, diff)
			}
			if len(test.Denied) > 0 {
				refused[test.Kind] = true
				continue
			}
			passed[test.Kind] = true
			plan.ToHost(content, "web", cluster(), test.Kind)
			want := withNumbers(t, test.Want)
			if diff := cmp.Diff(hostNamesIn(want, test.Kind), any(content)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.Reason, diff)
			}
		}
		for resource := range c.sync.ToHost.CustomResources {
			if !passed[resource] || !refused[resource] {
				t.Errorf("%s has no case that passes, or none that is refused", resource)
			}
		}
	})
}

// TestNoReferenceOfPresetsLeavesTheTenant draws objects against the schemas of the presets.
// Whatever passes the check has no text of the tenant's on the host but where any may be.
func TestNoReferenceOfPresetsLeavesTheTenant(t *testing.T) {
	t.Parallel()
	eachPreset(t, func(t *testing.T, c *presetCases) {
		texts := []string{"", "web", stolenName, stolenNamespace, stolenNamespace + "/" + stolenName, "a.shop.example.com", "registry.example.com/a"}
		for _, shown := range c.Shown {
			texts = append(texts, shown[strings.LastIndex(shown, "/")+1:])
		}
		for resource := range c.sync.ToHost.CustomResources {
			plan, spec := c.plan(t, resource), c.Schemas[resource].Properties["spec"]
			rapid.Check(t, func(t *rapid.T) {
				object := map[string]any{"spec": drawValue(t, "spec", &spec, texts)}
				if len(plan.Check(object, "web")) > 0 {
					return
				}
				plan.ToHost(object, "web", cluster(), resource)
				c.requireOwn(t, "spec", &spec, object["spec"])
			})
		}
	})
}

// requireOwn checks that each selector of a host object is confined. A text of the tenant's
// choice may only be where the schema allows any.
func (c *presetCases) requireOwn(t *rapid.T, path string, schema *apiextensionsv1.JSONSchemaProps, value any) {
	if schema.Title == neverTitle && !isEmpty(value) {
		t.Fatalf("%s reaches the host as %v", path, value)
	}
	switch value := value.(type) {
	case string:
		if schema.Title != "free" && (strings.Contains(value, "stolen") && !strings.Contains(value, "-"+hashOf(value)) || value == "web") {
			t.Fatalf("%s reaches the host as %q", path, value)
		}
	case []any:
		for i, item := range value {
			c.requireOwn(t, fmt.Sprintf("%s[%d]", path, i), schema.Items.Schema, item)
		}
	case map[string]any:
		requireOwnKeys(t, path, schema.Title, value)
		if schema.Title == "selector" || isLabelSelector(schema) {
			own, ok := value["matchLabels"].(map[string]any)
			if !ok {
				own = value
			}
			if own[labels.Cluster] != "uid" || own[stolenLabel] != nil {
				t.Fatalf("the selector %s is %v", path, value)
			}
			return
		}
		for key, inner := range value {
			if property, ok := schema.Properties[key]; ok {
				c.requireOwn(t, path+"."+key, &property, inner)
			} else if schema.AdditionalProperties != nil {
				c.requireOwn(t, path+"."+key, schema.AdditionalProperties.Schema, inner)
			}
		}
	}
}

// requireOwnKeys checks the keys of a map that reaches the host.
func requireOwnKeys(t *rapid.T, path, title string, value map[string]any) {
	switch title {
	case "cpu and memory":
		for key := range value {
			if key != "cpu" && key != "memory" {
				t.Fatalf("%s reaches the host with %s", path, key)
			}
		}
	case "podMetadata":
		own, _ := value["labels"].(map[string]any)
		if own[labels.Release] != cluster().Name || len(value) != 1 {
			t.Fatalf("the pods get %v", value)
		}
		for key := range own {
			if key != labels.Release && !strings.HasPrefix(key, labels.TenantPrefix) {
				t.Fatalf("the pods get the label %s", key)
			}
		}
	}
}

// hashOf returns what a name of the host ends with, and something else for any other text.
func hashOf(name string) string {
	i := strings.LastIndex(name, "-")
	if tail := name[i+1:]; len(tail) >= 20 && tail != stolenName {
		return tail
	}
	return "no hash"
}
