package patch

import (
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// TestNoWriteLoop reconciles twice, and wants no second write. The kind builds its
// copies from nothing or leaves what exists, and the host adds defaults or not.
func TestNoWriteLoop(t *testing.T) {
	t.Parallel()
	paths := []string{"spec.a", "spec.b.c", "spec.items[*].v", `metadata.labels["k"]`, "spec.b"}
	expressions := []string{
		`"x"`, `value`, `string(value) + "!"`, `{"n": "v"}`, `null`, `object.spec.a`,
		`has(object.spec.b) ? "p" : "q"`, `[__namespace__, name]`, `object.spec`,
	}
	conditions := []string{"", "true", "false", "has(object.spec.b)"}
	rapid.Check(t, func(t *rapid.T) {
		var patches []v1alpha1.Patch
		for range rapid.IntRange(1, 3).Draw(t, "patches") {
			patches = append(patches, v1alpha1.Patch{
				Path:       rapid.SampledFrom(paths).Draw(t, "path"),
				Expression: rapid.SampledFrom(expressions).Draw(t, "expression"),
				When:       rapid.SampledFrom(conditions).Draw(t, "when"),
			})
		}
		set, problems := Compile(patches, Options{Immutable: rapid.Bool().Draw(t, "immutable")})
		if len(problems) > 0 {
			return // Two change one field.
		}
		host := simulatedHost{builds: rapid.Bool().Draw(t, "builds"), adds: rapid.Bool().Draw(t, "adds")}
		original := drawObject(t)
		if err := host.reconcile(set, original); err != nil {
			return // It is refused before anything is written.
		}
		for range 2 {
			before := runtime.DeepCopyJSON(host.stored)
			record := host.record
			if err := host.reconcile(set, original); err != nil {
				return // What the host has added changes the result: it is refused, and not written.
			}
			if !reflect.DeepEqual(before, host.written) || record != host.record {
				t.Fatalf("a second write\npatches %+v\nbefore %v %s\nafter  %v %s", patches, before, record, host.written, host.record)
			}
		}
	})
}

// drawObject returns a random original.
func drawObject(t *rapid.T) map[string]any {
	spec := map[string]any{"a": rapid.SampledFrom([]string{"1", "2"}).Draw(t, "a")}
	if rapid.Bool().Draw(t, "has b") {
		spec["b"] = map[string]any{"c": "3"}
	}
	items := []any{}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"i", "j", "k"}), 0, 3, rapid.ID[string]).Draw(t, "items") {
		items = append(items, map[string]any{"name": name, "v": name})
	}
	spec["items"] = items
	return map[string]any{"metadata": map[string]any{"labels": map[string]any{"l": "m"}}, "spec": spec}
}

// simulatedHost has one copy.
type simulatedHost struct {
	builds bool // The kind builds copies from nothing.
	adds   bool // The host adds defaults to maps.

	written, stored map[string]any
	record          string
}

// reconcile does what the engine does: Down, patch, and a write.
func (h *simulatedHost) reconcile(set *Set, original map[string]any) error {
	after := runtime.DeepCopyJSON(original)
	if h.stored != nil {
		after = runtime.DeepCopyJSON(h.stored)
		if h.builds {
			after["spec"] = runtime.DeepCopyJSON(original)["spec"]
			if h.adds {
				h.add(after)
			}
		}
	}
	record, err := set.Down(Change{
		Cluster: testCluster(), Virtual: types.NamespacedName{Namespace: "n", Name: "o"},
		Original: original, Copy: after, Before: runtime.DeepCopyJSON(h.stored), Record: h.record,
	})
	if err != nil {
		return err
	}
	h.written, h.record = after, record
	h.stored = runtime.DeepCopyJSON(after)
	if h.adds {
		h.add(h.stored)
	}
	return nil
}

// add adds what a host adds to each map of the spec.
func (h *simulatedHost) add(copied map[string]any) {
	spec, _ := copied["spec"].(map[string]any)
	for _, value := range spec {
		if object, ok := value.(map[string]any); ok {
			object["default"] = "of the host"
		}
	}
}
