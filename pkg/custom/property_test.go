package custom

import (
	"slices"
	"strings"
	"testing"

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
		object := map[string]any{"spec": drawValue(t, "spec", &spec, []string{"", "web", stolenName, stolenNamespace, stolenLabel})}
		if len(plan.Check(object, "web")) > 0 {
			return
		}
		plan.ToHost(object, "web", cluster(), widgets)
		requireConfined(t, "", object)
	})
}

// requireConfined checks a value of the host. Fields with these names refer to nothing.
func requireConfined(t *rapid.T, key string, value any) {
	switch value := value.(type) {
	case string:
		plain := []string{"color", "cpu", "gateways", "hosts", "key", "limits", "memory", "note", "operator", "secretKey", "values", stolenLabel}
		if slices.Contains([]string{stolenName, stolenNamespace, stolenLabel}, value) && !slices.Contains(plain, key) {
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
