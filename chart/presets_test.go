package chart_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/config"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// parsedFrom returns what the server reads of values.
func parsedFrom(t *testing.T, rendered rendering) *v1alpha1.Config {
	t.Helper()
	parsed, err := config.Parse(object[*corev1.Secret](t, rendered, "shop-config").Data["config.yaml"], kinds.Settings()...)
	if err != nil {
		t.Fatalf("the server refuses what Helm has rendered: %v", err)
	}
	return parsed
}

// TestPresets switches each preset on. The server reads the settings of its file, and the
// Role has just its kinds. No two presets have the same definition.
func TestPresets(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	files, err := filepath.Glob("presets/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no presets: %v", err)
	}
	seen := map[string]string{}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var preset struct {
			Sync struct {
				ToHost struct {
					Pods            struct{ Patches v1alpha1.PatchList }
					CustomResources map[string]v1alpha1.CustomResource
				}
				FromHost struct {
					CustomResources map[string]v1alpha1.HostCustomResource
				}
			}
		}
		if err := yaml.Unmarshal(data, &preset); err != nil {
			t.Fatal(err)
		}
		toHost, fromHost := preset.Sync.ToHost.CustomResources, preset.Sync.FromHost.CustomResources
		for _, key := range append(slices.Collect(maps.Keys(toHost)), slices.Collect(maps.Keys(fromHost))...) {
			if seen[key] != "" {
				t.Errorf("%s and %s both have %s", path, seen[key], key)
			}
			seen[key] = path
		}
		values, mappings := "integrations: {"+strings.TrimSuffix(filepath.Base(path), ".yaml")+": {enabled: true}}", v1alpha1.CustomMappings{ByName: map[string]string{"shared/a": "edge/a"}}
		var mapped []string
		for key, kind := range fromHost {
			if kind.IsNamespaced() {
				mapped = append(mapped, key+`: {mappings: {byName: {"shared/a": "edge/a"}}}`)
				kind.Mappings = mappings
				fromHost[key] = kind
			}
		}
		rendered := mustRender(t, ch, values+"\nsync: {fromHost: {customResources: {"+strings.Join(mapped, ", ")+"}}}")
		got := parsedFrom(t, rendered).Sync
		if diff := cmp.Diff(toHost, got.ToHost.CustomResources); diff != "" && len(toHost) > 0 {
			t.Errorf("%s: toHost (-want +got):\n%s", path, diff)
		}
		if diff := cmp.Diff(fromHost, got.FromHost.CustomResources); diff != "" && len(fromHost) > 0 {
			t.Errorf("%s: fromHost (-want +got):\n%s", path, diff)
		}
		if diff := cmp.Diff(preset.Sync.ToHost.Pods.Patches, got.Kinds["sync.toHost.pods"].Patches); diff != "" {
			t.Errorf("%s: patches of pods (-want +got):\n%s", path, diff)
		}
		role := fmt.Sprint(object[*rbacv1.Role](t, rendered, "shop").Rules)
		for key := range toHost {
			plural, group, _ := strings.Cut(key, ".")
			if !strings.Contains(role, "["+group+"] ["+plural+"]") {
				t.Errorf("%s: the Role has no rule for %s", path, key)
			}
		}
	}
}

// TestPresetsAndOwnSettings combines a preset with entries of an operator.
func TestPresetsAndOwnSettings(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	const issuers, certificates, classes = "issuers.cert-manager.io", "certificates.cert-manager.io", "clusterissuers.cert-manager.io"
	for _, c := range []struct {
		reason, values string
		holds          func(s v1alpha1.Sync) bool
	}{
		{"a preset that is off", `integrations: {certManager: {enabled: false}}`, func(s v1alpha1.Sync) bool { return !s.HasCustomResources() }},
		{"a kind is switched off", `sync: {toHost: {customResources: {issuers.cert-manager.io: {enabled: false}}}}`, func(s v1alpha1.Sync) bool {
			return !s.ToHost.CustomResources[issuers].Enabled && s.ToHost.CustomResources[certificates].Enabled
		}},
		{"a key of an entry", `sync: {fromHost: {customResources: {clusterissuers.cert-manager.io: {selector: {matchLabels: {a: b}}}}}}`, func(s v1alpha1.Sync) bool {
			shown := s.FromHost.CustomResources[classes]
			return shown.Enabled && shown.Selector.MatchLabels["a"] == "b"
		}},
		{"references of the operator alone", `sync: {toHost: {customResources: {certificates.cert-manager.io: {references: [{path: spec.a, to: none}]}}}}`, func(s v1alpha1.Sync) bool {
			own := s.ToHost.CustomResources[certificates]
			return own.Enabled && len(own.References) == 1
		}},
		{"a version", `sync: {toHost: {customResources: {certificates.cert-manager.io/v1: {enabled: true}}}}`, func(s v1alpha1.Sync) bool {
			_, preset := s.ToHost.CustomResources[certificates]
			return !preset && s.ToHost.CustomResources[certificates+"/v1"].Enabled
		}},
		{"a patch of pods of the operator", `integrations: {kueue: {enabled: true}}
sync: {toHost: {pods: {patches: [{path: 'metadata.labels["kueue.x-k8s.io/queue-name"]', expression: '"team"'}]}}}`, func(s v1alpha1.Sync) bool {
			patches := s.Kinds["sync.toHost.pods"].Patches
			return len(patches) == 1 && patches[0].Expression == `"team"`
		}},
		{"the other direction", `sync: {toHost: {customResources: {clusterissuers.cert-manager.io: {enabled: false}}}}`, func(s v1alpha1.Sync) bool {
			_, preset := s.FromHost.CustomResources[classes]
			return !preset
		}},
	} {
		values := c.values
		if !strings.HasPrefix(values, "integrations") {
			values += "\nintegrations: {certManager: {enabled: true}}"
		}
		if s := parsedFrom(t, mustRender(t, ch, values)).Sync; !c.holds(s) {
			t.Errorf("%s: the server reads %+v and %+v", c.reason, s.ToHost.CustomResources, s.FromHost.CustomResources)
		}
	}
}

// TestBadPresets refuses switches that mean nothing, and presets that lack what they need.
func TestBadPresets(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	for _, c := range []struct{ reason, values, want string }{
		{"a preset that does not exist", `integrations: {certmanager: {enabled: true}}`, "the keys here are argoCD, argoRollouts, certManager, "},
		{"a switch as text", `integrations: {certManager: {enabled: "yes"}}`, "at '/integrations/certManager/enabled': "},
		{"a switch as a number", `integrations: {certManager: {enabled: 1}}`, "at '/integrations/certManager/enabled': "},
		{"a preset as a switch", `integrations: {certManager: true}`, "at '/integrations/certManager': "},
		{"a key that presets do not have", `integrations: {certManager: {enabled: true, issuers: []}}`, "at '/integrations/certManager/issuers': "},
		{"Gateways without mappings", `integrations: {gatewayAPI: {enabled: true}}`, "has no mappings.byName"},
		{
			"mappings that name one object for all", `{integrations: {gatewayAPI: {enabled: true}}, sync: {fromHost: {customResources: {gateways.gateway.networking.k8s.io: {mappings: {byName: {"shared/*": "edge/front"}}}}}}}`,
			"a whole namespace cannot get the name of one object",
		},
		{
			"a kind of a preset in both directions", `{integrations: {certManager: {enabled: true}}, sync: {toHost: {customResources: {clusterissuers.cert-manager.io: {enabled: true}}}, fromHost: {customResources: {clusterissuers.cert-manager.io: {enabled: true}}}}}`,
			"a kind is on twice",
		},
		{
			"a patch of a kind of a preset", `{integrations: {certManager: {enabled: true}}, sync: {toHost: {customResources: {issuers.cert-manager.io: {patches: [{path: metadata.name, expression: value}]}}}}}`,
			"sync.toHost.customResources[issuers.cert-manager.io].patches[0]: ",
		},
		{
			"a reference of a kind of a preset", `{integrations: {certManager: {enabled: true}}, sync: {toHost: {customResources: {issuers.cert-manager.io: {references: [{path: spec.a, to: storageclasses}]}}}}}`,
			"a reference to classes of the host has no names",
		},
	} {
		if _, err := render(ch, parse(t, c.values)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.reason, err, c.want)
		}
	}
}
