package custom

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"pgregory.net/rapid"

	"github.com/sublet-dev/sublet/api/labels"
)

// neverTitle is the title of a field in the schema of a test that must not reach the host.
const neverTitle = "never"

// drawValue draws a value of a schema. Its texts are those that a tenant would like to pass.
func drawValue(t *rapid.T, path string, schema *apiextensionsv1.JSONSchemaProps, texts []string) any {
	switch schema.Type {
	case "integer":
		return rapid.Int64Range(0, 3).Draw(t, path)
	case "boolean":
		return rapid.Bool().Draw(t, path)
	case "array":
		list := []any{}
		for i := range rapid.IntRange(0, 2).Draw(t, path+" length") {
			list = append(list, drawValue(t, fmt.Sprintf("%s[%d]", path, i), schema.Items.Schema, texts))
		}
		return list
	case "object":
		return drawObject(t, path, schema, texts)
	}
	if len(schema.Enum) > 0 {
		texts = nil
		for _, value := range schema.Enum {
			texts = append(texts, strings.Trim(string(value.Raw), `"`))
		}
	}
	return rapid.SampledFrom(texts).Draw(t, path)
}

// drawObject draws an object of a schema. Fields that are not required are often left out.
func drawObject(t *rapid.T, path string, schema *apiextensionsv1.JSONSchemaProps, texts []string) any {
	object := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(schema.Properties)) {
		property := schema.Properties[key]
		if slices.Contains(schema.Required, key) || isSet(t, path+"."+key+" is set", &property) {
			object[key] = drawValue(t, path+"."+key, &property, texts)
		}
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil && rapid.Bool().Draw(t, path+" has values") {
		object[stolenLabel] = drawValue(t, path+"[]", schema.AdditionalProperties.Schema, texts)
	}
	if schema.Title == "podMetadata" {
		drawPodMetadata(t, path, object)
		return object
	}
	if schema.XPreserveUnknownFields != nil && rapid.Bool().Draw(t, path+" has anything") {
		object["secretRef"] = map[string]any{"name": stolenName}
	}
	return object
}

// isSet draws whether a field is set that may be left out. What never passes is rare, as few objects would
// pass otherwise.
func isSet(t *rapid.T, label string, schema *apiextensionsv1.JSONSchemaProps) bool {
	if schema.Title != neverTitle {
		return rapid.IntRange(0, 4).Draw(t, label) == 0
	}
	for range 5 {
		if !rapid.Bool().Draw(t, label) {
			return false
		}
	}
	return true
}

// drawPodMetadata draws metadata of pods with keys that the engine and the policies of the release read.
func drawPodMetadata(t *rapid.T, path string, metadata map[string]any) {
	drawn := func(name string) map[string]any {
		keys := map[string]any{}
		for _, key := range []string{labels.Cluster, labels.Release, labels.VirtualName, labels.TenantPrefix + "a", stolenLabel} {
			if rapid.Bool().Draw(t, path+"."+name+" has "+key) {
				keys[key] = rapid.SampledFrom([]string{"uid", "other", stolenName}).Draw(t, key)
			}
		}
		return keys
	}
	if rapid.Bool().Draw(t, path+" has labels") {
		metadata["labels"] = drawn("labels")
	}
	if rapid.IntRange(0, 4).Draw(t, path+" has annotations") == 0 {
		metadata["annotations"] = drawn("annotations")
	}
}
