package patch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// TestLongNames patches many values below items and keys with long names. Each place has the names above it, so that
// these must be short.
func TestLongNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 100_000)
	newTree := func(suffix string) map[string]any {
		var values []any
		for i := range 1000 {
			values = append(values, map[string]any{"v": fmt.Sprint(i, suffix)})
		}
		return map[string]any{"spec": map[string]any{
			"items":  []any{map[string]any{"name": long + "b", "v": "x"}, map[string]any{"name": long + "c", "values": values}},
			"byName": map[string]any{long: map[string]any{"values": values}},
		}}
	}
	for _, path := range []string{"spec.items[*].values[*].v", "spec.byName[*].values[*].v"} {
		steps, err := parsePath(path)
		if err != nil {
			t.Fatal(err)
		}
		all := places(newTree(""), steps)
		if len(all) != 1000 {
			t.Errorf("%s: got %d places", path, len(all))
		}
		for _, at := range all {
			if len(at.name()) > 2*maxName {
				t.Fatalf("%s: a place has a name of %d bytes", path, len(at.name()))
			}
		}
	}
	change := Change{Cluster: testCluster(), Original: newTree(""), Copy: newTree("")}
	set := compile(t, Options{}, v1alpha1.Patch{Path: "spec.items[*].values[*].v", Expression: `value + "!"`, When: "value != null"})
	if _, err := set.Down(change); err != nil {
		t.Fatal(err)
	}
	read := func(tree map[string]any) any {
		spec, _ := tree["spec"].(map[string]any)
		return spec["items"]
	}
	if diff := cmp.Diff(read(newTree("!")), read(change.Copy)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
