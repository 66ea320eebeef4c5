package chart_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

// TestCustomResources permits just what is on, and definitions by their name.
func TestCustomResources(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	definitions := func(names string) string {
		return "cluster: [apiextensions.k8s.io] [customresourcedefinitions] [" + names + "] [get list watch]"
	}
	for _, c := range []struct {
		reason, values string
		want           []string // scope: groups resources names verbs
	}{
		{"nothing is on", "", nil},
		{"a kind that is off", `sync: {toHost: {customResources: {widgets.example.com: {enabled: false}}}}`, nil},
		{
			"a kind of the tenant", `sync: {toHost: {customResources: {widgets.example.com: {enabled: true}}}}`,
			[]string{definitions("widgets.example.com"), "tenant: [example.com] [widgets] [] [create delete get list patch watch]"},
		},
		{
			"a version in the key", `sync: {toHost: {customResources: {widgets.example.com/v1beta1: {enabled: true}}}}`,
			[]string{definitions("widgets.example.com"), "tenant: [example.com] [widgets] [] [create delete get list patch watch]"},
		},
		{
			"a kind of the host", `sync: {fromHost: {customResources: {shelves.a.example.com: {enabled: true, scope: Cluster}}}}`,
			[]string{definitions("shelves.a.example.com"), "cluster: [a.example.com] [shelves] [] [get list watch]"},
		},
		{
			"a kind of the host in namespaces", `sync: {fromHost: {customResources: {books.example.com: {enabled: true, scope: Namespaced, mappings: {byName: {"shared/a": "shop/a"}}}}}}`,
			[]string{definitions("books.example.com"), "shared: [example.com] [books] [a] [get list watch]"},
		},
		{
			"both ways", `sync: {toHost: {customResources: {b.example.com: {enabled: true}}}, fromHost: {customResources: {a.example.com: {enabled: true}}}}`,
			[]string{
				definitions("a.example.com b.example.com"), "cluster: [example.com] [a] [] [get list watch]",
				"tenant: [example.com] [b] [] [create delete get list patch watch]",
			},
		},
	} {
		var got []string
		record := func(scope string, rules []rbacv1.PolicyRule) {
			for _, r := range rules {
				if strings.HasSuffix(fmt.Sprint(r.APIGroups), "example.com]") || slices.Contains(r.APIGroups, "apiextensions.k8s.io") {
					got = append(got, fmt.Sprint(scope, ": ", r.APIGroups, " ", r.Resources, " ", r.ResourceNames, " ", r.Verbs))
				}
			}
		}
		for _, o := range mustRender(t, ch, c.values).objects {
			switch o := o.(type) {
			case *rbacv1.Role:
				record(o.Namespace, o.Rules)
			case *rbacv1.ClusterRole:
				record("cluster", o.Rules)
			}
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}
