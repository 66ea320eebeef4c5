package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckConfig checks configurations, and names everything that does not compile.
func TestCheckConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, config string
		want         []string // texts of the error, none if there is none
	}{
		{name: "nothing to compile", config: "{}"},
		{name: "patch", config: `sync: {toHost: {pods: {patches: [{path: spec.priorityClassName, expression: '"low"'}]}}}`},
		{
			name: "unknown setting", config: "sync: {toHost: {pod: {}}}",
			want: []string{"sync.toHost.pod"},
		},
		{
			name: "selectors", config: `
sync:
  fromHost:
    storageClasses: {selector: {matchExpressions: [{key: team, operator: Equals, values: [shop]}]}}
    runtimeClasses: {selector: {matchLabels: {team: "the shop"}}}
    customResources: {clusterissuers.cert-manager.io: {enabled: true, selector: {matchLabels: {team: "the shop"}}}}
`,
			want: []string{
				"sync.fromHost.storageClasses.selector: \"Equals\" is not a valid label selector operator",
				"sync.fromHost.runtimeClasses.selector: ", "sync.fromHost.customResources[clusterissuers.cert-manager.io].selector: ",
			},
		},
		{
			name: "everything wrong", config: `
sync: {toHost: {pods: {patches: [{path: spec.priorityClassName, expression: 'val'}]}}}
controlPlane:
  advanced:
    authentication:
      jwt:
      - issuer: {url: "https://login.example.com", audiences: [shop]}
        claimMappings: {username: {expression: 'claims.sub +'}}
    virtualScheduler: {enabled: true, config: "kind: Other"}
`,
			want: []string{
				`sync.toHost.pods.patches[0].expression: Invalid value: "val": line 1, column 1: undeclared reference`,
				"controlPlane.advanced.authentication.jwt[0].claimMappings.username.expression",
				"controlPlane.advanced.virtualScheduler.config: not a KubeSchedulerConfiguration",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(file, []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			command := Command()
			command.SetOut(&out)
			command.SetArgs([]string{"check-config", "--config", file})
			err := command.ExecuteContext(t.Context())
			if (err == nil) != (len(c.want) == 0) {
				t.Fatalf("check-config ends with %v, and prints %q", err, out.String())
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing in:\n%v", want, err)
				}
			}
		})
	}
}
