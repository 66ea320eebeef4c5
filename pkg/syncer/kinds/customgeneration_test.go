package kinds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// TestGenerationsOfCopies brings back which generation of an object a controller of the host has
// seen. The copy counts its own, from the moment when it was created.
func TestGenerationsOfCopies(t *testing.T) {
	t.Parallel()
	plan, err := custom.Compile(&apiextensionsv1.JSONSchemaProps{Type: "object"}, custom.Options{})
	if err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	for _, c := range []struct {
		reason         string
		written        int64 // the generation of the tenant's object when the copy was written
		host, observed int64 // of the copy
		withoutStatus  bool
		want           int64
	}{
		{reason: "the copy was created again", written: 7, host: 1, observed: 1, want: 7},
		{reason: "two changes were written as one", written: 3, host: 2, observed: 2, want: 3},
		{reason: "the host has changed the copy too", written: 2, host: 5, observed: 5, want: 2},
		{reason: "a change that nobody has seen yet", written: 7, host: 2, observed: 1, want: 6},
		{reason: "nothing was ever seen", written: 1, host: 4, observed: 0, want: 0},
		{reason: "a status without an address of its own, a write of which is a generation", written: 7, host: 1, observed: 1, want: 1, withoutStatus: true},
	} {
		o := CustomOptions{Resource: "widgets.example.com", Cluster: testCluster(), Plan: plan, HasStatus: !c.withoutStatus}
		virtual, host := &unstructured.Unstructured{Object: object{"spec": object{"size": "1"}}}, &unstructured.Unstructured{Object: object{}}
		virtual.SetGeneration(c.written)
		if err := o.fillHost(syncer.Scope{Cluster: testCluster()}, virtual, host); err != nil {
			t.Fatal(err)
		}
		host.SetGeneration(c.host)
		status := func(generation int64) object {
			return object{
				"observedGeneration": generation,
				"conditions":         []any{object{"type": "Ready", "status": "True", "observedGeneration": generation}},
				"parents":            []any{object{"conditions": []any{object{"type": "Accepted", "status": "True", "observedGeneration": generation}}}},
				"template":           object{"observedGeneration": int64(42)},
			}
		}
		host.Object["status"] = status(c.observed)
		if err := o.fillVirtual(syncer.Scope{Cluster: testCluster()}, host, virtual); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(status(c.want), virtual.Object["status"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

// TestGenerationsOfShownObjects shows which generation of an object of the host its controller has
// seen, as one of the virtual copy. That counts its own.
func TestGenerationsOfShownObjects(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	for _, c := range []struct {
		reason                  string
		virtual, host, observed int64
		withoutStatus           bool
		want                    int64
	}{
		{reason: "seen by the controller", virtual: 1, host: 9, observed: 9, want: 1},
		{reason: "not seen yet", virtual: 4, host: 9, observed: 8, want: 3},
		{reason: "a copy that is about to be created", virtual: 0, host: 9, observed: 9, want: 1},
		{reason: "never seen", virtual: 2, host: 9, observed: 0, want: 0},
		{reason: "a status without an address of its own", virtual: 1, host: 9, observed: 9, want: 9, withoutStatus: true},
	} {
		status := func(generation int64) object {
			return object{
				"type": "Widget", "status": "Ready", "observedGeneration": generation, // like a condition
				"parents":  []any{object{"conditions": []any{object{"type": "Accepted", "status": "True", "observedGeneration": generation}}}},
				"template": object{"observedGeneration": int64(42)},
			}
		}
		host := &unstructured.Unstructured{Object: object{"spec": object{"size": "1"}, "status": status(c.observed)}}
		virtual := &unstructured.Unstructured{Object: object{}}
		host.SetGeneration(c.host)
		virtual.SetGeneration(c.virtual)
		CustomOptions{HasStatus: !c.withoutStatus}.copyContent(host, virtual)
		if diff := cmp.Diff(status(c.want), virtual.Object["status"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}
