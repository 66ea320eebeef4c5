package patchtest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/pkg/translate"
)

func TestRun(t *testing.T) {
	t.Parallel()
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec: {hostname: a, terminationGracePeriodSeconds: 5}\nstatus: {hostIP: 10.0.0.1}\n"
	for _, c := range []struct {
		reason, object, values string
		fromHost, fromInput    bool
		want, wantErr          string
	}{
		{
			reason: "both sides", object: pod,
			values: `sync: {toHost: {pods: {patches: [{path: spec.hostname, expression: 'value + "-" + cluster.name'}, {path: status.hostIP, reverse: '"192.0.2.1"'}]}}}`,
			want: `# The copy, as the expressions change it.
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
spec:
  hostname: a-one
  terminationGracePeriodSeconds: 5
status:
  hostIP: 10.0.0.1
---
# What the tenant sees, as the reverse expressions change it.
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
spec:
  hostname: a
  terminationGracePeriodSeconds: 5
status:
  hostIP: 192.0.2.1
`,
		},
		{
			reason: "a custom resource of the host", object: "apiVersion: example.com/v1\nkind: Shelf\nmetadata: {name: a}\n", fromHost: true,
			values: `sync: {fromHost: {customResources: {shelves.example.com: {}, shelfs.example.com/v1: {patches: [{path: spec.a, expression: "1"}]}}}}`,
			want:   "# The copy, as the expressions change it.\napiVersion: example.com/v1\nkind: Shelf\nmetadata:\n  name: a\nspec:\n  a: 1\n",
		},
		{
			reason: "another kind", object: pod, values: `sync: {toHost: {services: {patches: [{path: spec.type, expression: '"NodePort"'}]}}}`,
			wantErr: "the settings have no patches for Pod",
		},
		{
			reason: "a wrong expression", object: pod, values: `sync: {toHost: {pods: {patches: [{path: spec.hostname, expression: 'valu'}]}}}`,
			wantErr: "sync.toHost.pods.patches[0].expression: line 1, column 1: undeclared reference to 'valu'",
		},
		{
			reason: "an expression that fails", object: pod, values: `sync: {toHost: {pods: {patches: [{path: spec.hostname, expression: 'object.spec.nodeName'}]}}}`,
			wantErr: "cannot patch the copy: sync.toHost.pods.patches[0]: cannot evaluate it: no such key: nodeName",
		},
		{
			reason: "an object of the standard input", object: "apiVersion: v1\nkind: Node\nmetadata: {name: a}\n", fromHost: true, fromInput: true,
			values: `sync: {fromHost: {nodes: {patches: [{path: spec.podCIDR, expression: 'name'}]}}}`,
			want:   "# The copy, as the expressions change it.\napiVersion: v1\nkind: Node\nmetadata:\n  name: a\nspec:\n  podCIDR: a\n",
		},
		{reason: "no object", object: "a", values: "{}", wantErr: "cannot decode the object"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "object.yaml")
			if err := os.WriteFile(file, []byte(c.object), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.fromInput {
				file = "-"
			}
			values := map[string]any{}
			if err := yaml.Unmarshal([]byte(c.values), &values); err != nil {
				t.Fatal(err)
			}
			out := &bytes.Buffer{}
			o := options{fromHost: c.fromHost, cluster: translate.Cluster{Name: "one"}}
			err := o.run(strings.NewReader(c.object), out, values, file)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Errorf("want %q, got %v", c.wantErr, err)
				}
				return
			}
			if diff := cmp.Diff(c.want, out.String()); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}
