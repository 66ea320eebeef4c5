package custom

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"pgregory.net/rapid"

	"github.com/sublet-dev/sublet/api/labels"
)

// Texts of a tenant that must not reach the host where something reads them as a reference.
const (
	stolenName      = "stolen-name"
	stolenNamespace = "stolen-namespace"
	stolenLabel     = "stolen-label"
)

// TestNoReferenceLeavesTheTenant draws objects against the schema. Whatever passes the check
// reaches the host without a name, a namespace or a label of the tenant's choice. That
// holds for all fields that refer to or select something.
func TestNoReferenceLeavesTheTenant(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t, widgetSchema)
	spec := schema.Properties["spec"]
	plan := compile(t, false)
	rapid.Check(t, func(t *rapid.T) {
		object := map[string]any{"spec": drawValue(t, "spec", "", &spec)}
		if len(plan.Check(object, "web")) > 0 {
			return
		}
		plan.ToHost(object, "web", cluster(), widgets)
		requireConfined(t, "", object)
	})
}

// drawValue draws a value of a schema. Texts of references are those of the tenant's choice.
func drawValue(t *rapid.T, path, key string, schema *apiextensionsv1.JSONSchemaProps) any {
	switch schema.Type {
	case "integer":
		return rapid.Int64Range(0, 3).Draw(t, path)
	case "boolean":
		return rapid.Bool().Draw(t, path)
	case "array":
		list := []any{}
		for i := range rapid.IntRange(0, 2).Draw(t, path+" length") {
			list = append(list, drawValue(t, fmt.Sprintf("%s[%d]", path, i), key, schema.Items.Schema))
		}
		return list
	case "object":
		return drawObject(t, path, key, schema)
	}
	return rapid.SampledFrom([]string{"", "web", stolenName, stolenNamespace, stolenLabel}).Draw(t, path)
}

func drawObject(t *rapid.T, path, key string, schema *apiextensionsv1.JSONSchemaProps) any {
	object := map[string]any{}
	for _, key := range sortedKeys(schema.Properties) {
		property := schema.Properties[key]
		if key == "selector" || rapid.IntRange(0, 5).Draw(t, path+"."+key+" is set") == 0 {
			object[key] = drawValue(t, path+"."+key, key, &property)
		}
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil && rapid.Bool().Draw(t, path+" has values") {
		object[stolenLabel] = drawValue(t, path+"[]", key, schema.AdditionalProperties.Schema)
	}
	if schema.XPreserveUnknownFields != nil && rapid.Bool().Draw(t, path+" has anything") {
		object["secretRef"] = map[string]any{"name": stolenName}
	}
	return object
}

// requireConfined checks a value of the host. Fields with these names refer to nothing.
func requireConfined(t *rapid.T, key string, value any) {
	switch value := value.(type) {
	case string:
		if slices.Contains([]string{stolenName, stolenNamespace, stolenLabel}, value) && key != "color" && key != "gateways" && key != "key" && key != "secretKey" && key != "hosts" && key != "values" && key != "operator" {
			t.Fatalf("%s reaches the host as %q", key, value)
		}
	case []any:
		for _, item := range value {
			requireConfined(t, key, item)
		}
	case map[string]any:
		if key == "selector" || key == "nodeSelector" {
			requireSelector(t, value)
			return
		}
		for below, inner := range value {
			requireConfined(t, below, inner)
		}
	}
}

// requireSelector checks that a selector selects nothing but objects of the virtual namespace.
func requireSelector(t *rapid.T, selector map[string]any) {
	own, _ := selector["matchLabels"].(map[string]any)
	if own[labels.Cluster] != "uid" {
		t.Fatalf("the selector %v selects in other clusters", selector)
	}
	for label := range own {
		if label != labels.Cluster && !strings.HasPrefix(label, labels.TenantPrefix) {
			t.Fatalf("the label %s is not renamed", label)
		}
	}
}
