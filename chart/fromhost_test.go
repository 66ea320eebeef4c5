package chart_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

func TestFromHostByName(t *testing.T) {
	t.Parallel()
	const role = "sublet:tenant:shop"
	ch := loadChart(t)
	for _, c := range []struct {
		reason, values string
		want           []string // namespace: resource names verbs
	}{
		{"nothing is mapped", "", nil},
		{"a kind that is off reads nothing", `sync: {fromHost: {configMaps: {mappings: {byName: {"shared/ca": "shop/ca"}}}}}`, nil},
		{
			"just the objects that are named, in each namespace",
			`sync: {fromHost: {configMaps: {enabled: true, mappings: {byName: {"shared/ca": "shop/ca", "shared/b": "shop/*", "other/c": "shop/c"}}}}}`,
			[]string{"other: [configmaps] [c] [get list watch]", "shared: [configmaps] [b ca] [get list watch]"},
		},
		{
			"a whole namespace needs no names", `sync: {fromHost: {configMaps: {enabled: true, mappings: {byName: {"shared/*": "shop/*", "shared/b": "shop/c"}}}}}`,
			[]string{"shared: [configmaps] [] [get list watch]"},
		},
		{
			"both kinds, also in the namespace of the release",
			`sync: {fromHost: {configMaps: {enabled: true, mappings: {byName: {"shared/a": "shop/a"}}}, secrets: {enabled: true, mappings: {byName: {"shared/a": "shop/a", "/db": "shop/db"}}}}}`,
			[]string{
				"shared: [configmaps] [a] [get list watch]", "shared: [secrets] [a] [get list watch]", "tenant: [secrets] [db] [get list watch]",
			},
		},
		{
			"Services with their endpoints", `networking: {replicateServices: {fromHost: [{from: shared/web, to: shop/web}, {from: other/db, to: shop/db}]}}`,
			[]string{
				"other: [endpoints] [db] [get list watch]", "other: [services] [db] [get list watch]",
				"shared: [endpoints] [web] [get list watch]", "shared: [services] [web] [get list watch]",
			},
		},
	} {
		var got []string
		var roles []string
		bound := map[string]bool{} // namespace -> to the server
		for _, o := range mustRender(t, ch, c.values).objects {
			switch o := o.(type) {
			case *rbacv1.Role:
				if o.Name != role {
					continue
				}
				roles = append(roles, o.Namespace)
				for _, rule := range o.Rules {
					got = append(got, fmt.Sprint(o.Namespace, ": ", rule.Resources, " ", rule.ResourceNames, " ", rule.Verbs))
				}
			case *rbacv1.RoleBinding:
				bound[o.Namespace] = o.RoleRef.Name == o.Name && o.Subjects[0].Name == "shop" && o.Subjects[0].Namespace == "tenant"
			}
		}
		for _, namespace := range roles {
			if !bound[namespace] {
				t.Errorf("%s: the Role in %s is not the server's", c.reason, namespace)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}
