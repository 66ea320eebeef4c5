package kinds

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestContentOfCopies writes what the tenant has changed of an object, and leaves the rest to
// the host. Some controllers write what they have made into the spec, and make another one if
// that is gone.
func TestContentOfCopies(t *testing.T) {
	t.Parallel()
	plan, err := custom.Compile(&apiextensionsv1.JSONSchemaProps{Type: "object"}, custom.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := CustomOptions{Resource: "widgets.example.com", Cluster: testCluster(), Plan: plan}
	many := map[string]any{}
	for i := range 2 * maxParts {
		many[fmt.Sprint(i)] = "a"
	}
	host := &unstructured.Unstructured{Object: map[string]any{}}
	fill := func(reason string, content, want map[string]any) {
		t.Helper()
		virtual := &unstructured.Unstructured{Object: content}
		if err := o.fillHost(syncer.Scope{Cluster: testCluster()}, virtual, host); err != nil {
			t.Fatal(err)
		}
		got := map[string]any{}
		for key, value := range host.Object {
			if key != "metadata" {
				got[key] = value
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", reason, diff)
		}
	}
	type object = map[string]any
	fill("a new copy", object{"spec": object{"size": "1", "color": "red"}, "on": true}, object{"spec": object{"size": "1", "color": "red"}, "on": true})
	host.Object["spec"].(object)["madeRef"], host.Object["spec"].(object)["color"] = "db-1", "crimson"
	fill("no change", object{"spec": object{"size": "1", "color": "red"}, "on": true}, object{"spec": object{"size": "1", "color": "crimson", "madeRef": "db-1"}, "on": true})
	fill("a change of another field", object{"spec": object{"size": "2", "color": "red"}}, object{"spec": object{"size": "2", "color": "crimson", "madeRef": "db-1"}})
	fill("a change of the same field, and one that goes", object{"spec": object{"color": "blue"}}, object{"spec": object{"color": "blue", "madeRef": "db-1"}})
	fill("no spec", object{}, object{})
	fill("an empty spec", object{"spec": object{}}, object{"spec": object{}})
	host.Object["spec"] = object{"madeRef": "db-1"}
	fill("its first field", object{"spec": object{"size": "1"}}, object{"spec": object{"size": "1", "madeRef": "db-1"}})
	fill("and no spec again", object{}, object{})
	fill("a map of many keys", object{"data": many}, object{"data": many})
	host.Object["data"].(object)["x"] = "y"
	fill("a map of a few keys again", object{"data": object{"a": "b"}}, object{"data": object{"a": "b"}})

	// A copy of an earlier version has one digest of the whole spec.
	text, err := translate.EncodeLastApplied(map[string]translate.LastApplied{contentField: translate.DigestValues(object{"spec": object{"size": "1"}})})
	if err != nil {
		t.Fatal(err)
	}
	host = &unstructured.Unstructured{Object: object{"spec": object{"size": "7"}}}
	host.SetAnnotations(map[string]string{labels.LastApplied: text})
	fill("an earlier record", object{"spec": object{"size": "1"}}, object{"spec": object{"size": "7"}})
	fill("a change after it", object{"spec": object{"size": "2"}}, object{"spec": object{"size": "2"}})
}
