package check

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestCheckPatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, values string
		status         string // empty for no result
		message        string
	}{
		{"no patches", "sync: {toHost: {pods: {nodeSelector: {a: b}}}}", "", ""},
		{"values that are no settings", "sync: {toHost: {pods: 1}}", "", ""},
		{"patches that compile", `sync: {toHost: {pods: {patches: [{path: spec.hostname, expression: name}]}, customResources: {widgets.example.com: {patches: [{path: spec.a, expression: name}]}}}}`, passed, "the patches of 2 kinds compile"},
		{"a wrong expression", `sync: {toHost: {pods: {patches: [{path: spec.hostname, expression: nam}]}}}`, failed, "sync.toHost.pods.patches[0].expression: line 1, column 1: undeclared reference to 'nam'"},
		{"a wrong path", `sync: {fromHost: {nodes: {patches: [{path: spec.hostname, expression: name}]}}}`, failed, "sync.fromHost.nodes.patches[0].path: no field hostname in spec"},
		{"a wrong form", `sync: {fromHost: {nodes: {patches: [{path: spec.podCIDR}]}}}`, failed, "sync.fromHost.nodes.patches[0]: must have either expression"},
	} {
		values := map[string]any{}
		if err := yaml.Unmarshal([]byte(c.values), &values); err != nil {
			t.Fatal(err)
		}
		got, ok := checkPatches(values)
		if ok != (c.status != "") || got.Status != c.status || !strings.HasPrefix(got.Message, c.message) {
			t.Errorf("%s: got %v %+v", c.reason, ok, got)
		}
	}
}
