package tenant

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func smallChart(values map[string]any) Options {
	return Options{
		Chart: filepath.Join("testdata", "chart"), Release: "shop", Namespace: "tenant-shop", Values: values,
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason string
		values map[string]any
		want   []string
	}{
		{"what a toggle leaves empty and the notes are no objects", nil, []string{"ConfigMap shop-config", "StatefulSet shop"}},
		{"values count", map[string]any{"toggle": true}, []string{"ConfigMap shop-config", "ConfigMap toggled", "StatefulSet shop"}},
	} {
		objects, err := Render(smallChart(c.values))
		if err != nil {
			t.Errorf("%s: %v", c.reason, err)
		}
		var got []string
		for _, object := range objects {
			got = append(got, object.GetKind()+" "+object.GetName())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

func TestWithout(t *testing.T) {
	t.Parallel()
	render := func(enabled bool) []*unstructured.Unstructured {
		objects, err := Render(smallChart(map[string]any{"toggle": enabled}))
		if err != nil {
			t.Fatal(err)
		}
		return filterApplied(objects)
	}
	for _, c := range []struct {
		reason        string
		before, after []*unstructured.Unstructured
		want          []string
	}{
		{"nothing was there before an installation", nil, render(true), nil},
		{"the same again", render(true), render(true), nil},
		{"what is added is not deleted", render(false), render(true), nil},
		{"what is left out is deleted", render(true), render(false), []string{"toggled"}},
	} {
		var got []string
		for _, object := range subtract(c.before, c.after) {
			got = append(got, object.GetName())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

func TestRenderRefusesWhatTheSchemaRefuses(t *testing.T) {
	t.Parallel()
	_, err := Render(smallChart(map[string]any{"toggle": "maybe"}))
	if err == nil || !strings.Contains(err.Error(), "toggle") {
		t.Errorf("Render = %v, want the path of the wrong value", err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	o := smallChart(map[string]any{"toggle": true})
	objects, err := Render(o)
	if err != nil {
		t.Fatal(err)
	}
	r := &Release{options: o}
	if err := r.readSettings(objects); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("toggle: true\n", string(r.config)); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	// What only a kubelet can fill in is left out.
	if diff := cmp.Diff([]string{"PLAIN=1", "EMPTY="}, r.env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if err := (&Release{options: o}).readSettings(objects[2:]); err == nil || !strings.Contains(err.Error(), "shop-config") {
		t.Errorf("settings = %v, want what is missing", err)
	}
}

func TestFileOf(t *testing.T) {
	t.Parallel()
	object := func(kind, field, content string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"kind": kind, field: map[string]any{"config.yaml": content},
		}}
	}
	for _, c := range []struct {
		reason string
		object *unstructured.Unstructured
		want   string
		fails  bool
	}{
		{"a ConfigMap holds text", object("ConfigMap", "data", "a: 1"), "a: 1", false},
		{"a Secret holds base64", object("Secret", "data", "YTogMQ=="), "a: 1", false},
		{"a Secret may be written in clear", object("Secret", "stringData", "a: 1"), "a: 1", false},
		{"broken base64", object("Secret", "data", "?"), "", true},
		{"another field", object("ConfigMap", "binaryData", "YTogMQ=="), "", true},
	} {
		got, err := readFile(c.object, "config.yaml")
		if string(got) != c.want || (err != nil) != c.fails {
			t.Errorf("%s: fileOf = %q, %v, want %q", c.reason, got, err, c.want)
		}
	}
}

// TestOwnChart checks that the project's chart has what a server needs outside of a pod.
func TestOwnChart(t *testing.T) {
	t.Parallel()
	o := Options{Chart: filepath.Join("..", "..", "..", "chart"), Release: "shop", Namespace: "tenant-shop"}
	objects, err := Render(o)
	if err != nil {
		t.Fatal(err)
	}
	r := &Release{options: o}
	if err := r.readSettings(objects); err != nil {
		t.Error(err)
	}
	there := map[string]bool{}
	for _, object := range objects {
		there[object.GetKind()+" "+object.GetName()] = true
	}
	for _, want := range []string{
		"ConfigMap shop-anchor", "Service shop", "Service shop-dns", "Service shop-operator", "ServiceAccount shop", "ServiceAccount shop-workload",
		"Role shop", "RoleBinding shop", "StatefulSet shop",
	} {
		if !there[want] {
			t.Errorf("the chart has no %s, only %v", want, there)
		}
	}
}
