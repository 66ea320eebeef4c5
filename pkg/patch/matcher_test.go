package patch

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestTranslatedNames patches items of lists that have another name in the copy.
func TestTranslatedNames(t *testing.T) {
	t.Parallel()
	host := func(name string) string {
		return translate.Hashed(testCluster(), types.NamespacedName{Namespace: "a", Name: name}).Name
	}
	secrets := v1alpha1.Patch{Path: "spec.pulls[*].name", Expression: `"x-" + value`}
	hosts := v1alpha1.Patch{Path: "status.hosts[*].ip", Reverse: `value + "!"`}
	conditions := v1alpha1.Patch{Path: "status.conditions[*].message", Reverse: `value + "!"`}
	for _, c := range []struct {
		reason         string
		options        Options
		patch          v1alpha1.Patch
		original, copy string
		want           string
	}{
		{
			"names of the host", Options{Immutable: true}, secrets, "spec: {pulls: [{name: b}, {name: c}]}",
			"spec: {pulls: [{name: " + host("b") + "}, {name: " + host("c") + "}]}", "spec: {pulls: [{name: x-b}, {name: x-c}]}",
		},
		{
			"an item that the host has added stays, also if the lists have the same length", Options{Immutable: true}, secrets,
			"spec: {pulls: [{name: b}, {name: b}]}", "spec: {pulls: [{name: added}, {name: " + host("b") + "}]}", "spec: {pulls: [{name: added}, {name: x-b}]}",
		},
		{
			"a kind that keeps what it finds would add the item again", Options{}, secrets,
			"spec: {pulls: [{name: b}]}", "spec: {pulls: [{name: " + host("b") + "}]}", "spec: {pulls: [{name: " + host("b") + "}]}",
		},
		{
			"virtual names in a status", Options{}, hosts, "status: {hosts: [{name: host-b, ip: i}, {name: c, ip: j}]}",
			"status: {hosts: [{name: b, ip: i}, {name: c, ip: j}]}", "status: {hosts: [{name: b, ip: i!}, {name: c, ip: j!}]}",
		},
		{
			"a status without an item of the host", Options{}, hosts, "status: {hosts: [{name: host-b, ip: i}, {name: added, ip: j}]}",
			"status: {hosts: [{name: b, ip: i}]}", "status: {hosts: [{name: b, ip: i}]}",
		},
		{
			"a status in another order", Options{}, hosts, "status: {hosts: [{name: c, ip: j}, {name: added, ip: i}]}",
			"status: {hosts: [{name: b, ip: i}, {name: c, ip: j}]}", "status: {hosts: [{name: b, ip: i}, {name: c, ip: j!}]}",
		},
		{
			"a condition of the tenant next to one of the host", Options{}, conditions,
			"status: {conditions: [{type: Ready, message: a}, {type: Host, message: b}]}",
			"status: {conditions: [{type: Ready, message: a}, {type: Gate, message: c}]}",
			"status: {conditions: [{type: Ready, message: a!}, {type: Gate, message: c}]}",
		},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			change := Change{Cluster: testCluster(), Virtual: types.NamespacedName{Namespace: "a", Name: "web"}, Original: tree(t, c.original), Copy: tree(t, c.copy)}
			set := compile(t, c.options, c.patch)
			_, err := set.Down(change)
			if set.HasUp() {
				err = set.Up(change)
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tree(t, c.want), change.Copy); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
