package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/config"
)

// testKinds returns a table of kinds.
func testKinds() []v1alpha1.Kind {
	kinds := []v1alpha1.Kind{
		{Setting: "sync.toHost.pods", Always: true}, {Setting: "sync.toHost.leases", CopiesLabels: true, CopiesAnnotations: true},
		{Setting: "sync.toHost.volumeSnapshots"}, {Setting: "sync.fromHost.volumeSnapshotClasses"}, {Setting: "sync.fromHost.runtimeClasses"}, {Setting: "sync.toHost.resourceClaims"}, {Setting: "sync.fromHost.deviceClasses"}, {Setting: "sync.fromHost.resourceSlices"}, {Setting: "sync.fromHost.csiDrivers", Selects: true},
	}
	for _, setting := range []string{
		"toHost.services", "toHost.endpointSlices", "toHost.configMaps", "toHost.secrets", "toHost.persistentVolumeClaims",
		"fromHost.nodes", "fromHost.storageClasses", "fromHost.events",
	} {
		kinds = append(kinds, v1alpha1.Kind{Setting: "sync." + setting, Enabled: true})
	}
	return kinds
}

func TestParse(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason, text string
		want         func(*v1alpha1.Config)
	}{
		"nothing":  {"an empty file is all defaults", "", func(*v1alpha1.Config) {}},
		"comments": {"so is one with comments alone", "# nothing set\n---\n", func(*v1alpha1.Config) {}},
		"one key": {"the neighbours of a key keep their defaults", "logging: {verbosity: 3}",
			func(c *v1alpha1.Config) { c.Logging.Verbosity = 3 }},
		"false": {"false is not the same as nothing", "sync: {toHost: {secrets: {enabled: false}}}",
			func(c *v1alpha1.Config) { c.Sync.Kinds["sync.toHost.secrets"] = v1alpha1.KindSettings{} }},
		"a kind": {"one that is off by default", "sync: {toHost: {leases: {enabled: true}}}",
			func(c *v1alpha1.Config) {
				leases := c.Sync.Kinds["sync.toHost.leases"]
				leases.Enabled = true
				c.Sync.Kinds["sync.toHost.leases"] = leases
			}},
		"labels of a kind": {"settings that kinds have alike", "sync: {toHost: {leases: {labels: {allow: [team]}}}}",
			func(c *v1alpha1.Config) { c.Sync.Kinds["sync.toHost.leases"].Labels.Allow = []string{"team"} }},
		"selector of a kind": {"settings that kinds have alike", "sync: {fromHost: {csiDrivers: {selector: {matchLabels: {a: b}}}}}",
			func(c *v1alpha1.Config) {
				c.Sync.Kinds["sync.fromHost.csiDrivers"].Selector.MatchLabels = map[string]string{"a": "b"}
			}},
		"a kind with settings": {"both keys are at one path", "sync: {toHost: {configMaps: {enabled: true, all: true}}}",
			func(c *v1alpha1.Config) { c.Sync.ToHost.ConfigMaps.All = true }},
		"maps merge": {"as Helm merges them", "controlPlane: {statefulSet: {resources: {limits: {cpu: 2}}}}",
			func(c *v1alpha1.Config) {
				c.ControlPlane.StatefulSet.Resources.Limits[corev1.ResourceCPU] = resource.MustParse("2")
			}},
		"lists replace": {"as Helm replaces them", "controlPlane: {statefulSet: {persistence: {volumeClaim: {accessModes: [ReadWriteMany]}}}}",
			func(c *v1alpha1.Config) {
				c.ControlPlane.StatefulSet.Persistence.VolumeClaim.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
			}},
		"Kubernetes types": {"with all that they can hold", "controlPlane: {statefulSet: {scheduling: {tolerations: [{key: a, operator: Exists, tolerationSeconds: 5}]}}}",
			func(c *v1alpha1.Config) {
				seconds := int64(5)
				c.ControlPlane.StatefulSet.Scheduling.Tolerations = []corev1.Toleration{
					{Key: "a", Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds}}
			}},
		"JSON": {"JSON is YAML", `{"networking": {"advanced": {"clusterDomain": "shop.local"}}}`,
			func(c *v1alpha1.Config) { c.Networking.Advanced.ClusterDomain = "shop.local" }},
		"null for a map": {"is an empty one", "sync: {fromHost: {nodes: {selector: {labels: null}}}}",
			func(c *v1alpha1.Config) { c.Sync.FromHost.Nodes.Selector.Labels = nil }},
		"labels instead of all": {"one way to choose nodes", "sync: {fromHost: {nodes: {selector: {all: false, labels: {a: b}}}}}",
			func(c *v1alpha1.Config) {
				c.Sync.FromHost.Nodes.Selector = v1alpha1.NodeSelector{Labels: map[string]string{"a": "b"}}
			}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := v1alpha1.Default(testKinds()...)
			c.want(want)
			got, err := config.Parse([]byte(c.text), testKinds()...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// TestRefused checks what only the server refuses, and what is no tree of settings
// at all. The other refusals are in testdata/bad.
func TestRefused(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ reason, text, want string }{
		"no YAML":       {"the parser says where", "logging: {", "the configuration is not YAML"},
		"a key twice":   {"one of the two would be lost", "logging: {verbosity: 1, verbosity: 2}", `key "verbosity" already set`},
		"a list":        {"settings are a map", "[logging]", `(the whole file): Invalid value: must be a map`},
		"text":          {"settings are a map", "logging", `(the whole file): Invalid value: "logging"`},
		"another case":  {"keys are not guessed", "Logging: {}", "Logging: Invalid value: no such key; did you mean logging?"},
		"host bits":     {"a range begins at its first address", "networking: {serviceCIDR: 10.96.0.1/12}", `networking.serviceCIDR: Invalid value: "10.96.0.1/12": must be an IP range`},
		"no IP":         {"it looks like one", "controlPlane: {proxy: {extraSANs: [192.0.2.256]}}", `controlPlane.proxy.extraSANs[0]: Invalid value: "192.0.2.256"`},
		"port":          {"there is no such port", `exportKubeConfig: {server: "https://a:65536"}`, `exportKubeConfig.server: Invalid value: "https://a:65536"`},
		"twice":         {"a repetition is a mistake", "controlPlane: {proxy: {extraSANs: [a, b, a]}}", `controlPlane.proxy.extraSANs[2]: Invalid value: "a": is in the list twice`},
		"unknown kind":  {"a kind is in the table or it is none", "sync: {toHost: {service: {enabled: true}}}", `sync.toHost.service: Invalid value: no such key; did you mean services?`},
		"kind's key":    {"a kind has its own keys", "sync: {toHost: {services: {all: true}}}", "sync.toHost.services.all: Invalid value: true: no such key; leave it out; the keys here are enabled"},
		"pods off":      {"pods are always synced", "sync: {toHost: {pods: {enabled: false}}}", "sync.toHost.pods.enabled: Invalid value: false: no such key"},
		"kind is true":  {"it is a map", "sync: {toHost: {leases: true}}", "sync.toHost.leases: Invalid value: true: must be a map; its keys are annotations, enabled, labels or patches"},
		"huge number":   {"it does not fit", "logging: {verbosity: 99999999999}", "logging.verbosity: Invalid value: 99999999999: must be a whole number"},
		"null in a map": {"what would it be?", "controlPlane: {service: {labels: {a: null}}}", "controlPlane.service.labels[a]: Invalid value: null: must not be null"},
		"dots in a key": {"a path in one key is no path", "{logging.verbosity: 1}", "logging.verbosity: Invalid value: 1: no such key"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse([]byte(c.text), testKinds()...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %q", c.reason, err, c.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if _, err := config.Load(file, testKinds()...); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a missing file: %v, want its name", err)
	}
	if err := os.WriteFile(file, []byte("sync: {toHost: {pod: {}}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(file, testKinds()...)
	var refused *config.Error
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), file) || len(refused.Problems) != 1 {
		t.Errorf("a bad file: %v, want its name and one problem", err)
	}
	if err := os.WriteFile(file, []byte("logging: {encoding: json}"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := config.Load(file, testKinds()...)
	if err != nil || got.Logging.Encoding != "json" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestNullTakesOutAnEntry(t *testing.T) {
	t.Parallel()
	parsed, err := config.Parse([]byte("{policies: {resourceQuota: {quota: {pods: null, requests.cpu: 5}}}, " +
		"controlPlane: {ingress: {annotations: {nginx.ingress.kubernetes.io/ssl-redirect: null}}}}"))
	if err != nil {
		t.Fatal(err)
	}
	quota := parsed.Policies.ResourceQuota.Quota
	if _, found := quota["pods"]; found {
		t.Error("null leaves the default in the map")
	}
	if len(parsed.ControlPlane.Ingress.Annotations) != 2 {
		t.Errorf("the annotations are %v, want two of the three defaults", parsed.ControlPlane.Ingress.Annotations)
	}
	if cpu := quota["requests.cpu"]; cpu.String() != "5" {
		t.Errorf("the entry beside it is %s, want 5", cpu.String())
	}
	if _, found := quota["requests.memory"]; !found {
		t.Error("an entry that is not mentioned is gone")
	}
}
