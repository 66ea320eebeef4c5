package chart_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/config"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// TestServerAndHelmAgree sets random values at random paths: what one takes, the
// other has to take, and what Helm renders, the server has to read.
func TestServerAndHelmAgree(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	paths := allPaths(t)
	rapid.Check(t, func(t *rapid.T) {
		tree := map[string]any{}
		for range rapid.IntRange(1, 3).Draw(t, "settings") {
			set(tree, rapid.SampledFrom(paths).Draw(t, "path"), rapid.SampledFrom(someValues()).Draw(t, "value"))
		}
		text, err := yaml.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		_, refused := config.Parse(text, kinds.Settings()...)
		values := map[string]any{}
		if err := yaml.Unmarshal(text, &values); err != nil {
			t.Fatal(err)
		}
		_, helmRefused := render(ch, values)
		if (refused == nil) != (helmRefused == nil) {
			t.Fatalf("the values\n%s\nserver: %v\nHelm: %v", text, refused, helmRefused)
		}
	})
}

// defaultTree returns the default settings as JSON has them.
func defaultTree(t *testing.T) any {
	t.Helper()
	data, err := json.Marshal(v1alpha1.Default(kinds.Settings()...))
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

// allPaths returns the paths of all keys, and some that do not exist.
func allPaths(t *testing.T) []string {
	t.Helper()
	tree := defaultTree(t)
	paths := []string{"nothing", "sync.nothing", "sync.toHost.services.labels.team", "sync.fromHost.nodes.selector.labels.team",
		"controlPlane.statefulSet.resources.limits.cpu", "controlPlane.statefulSet.resources.requests.ephemeral-storage"}
	var walk func(node any, path string)
	walk = func(node any, path string) {
		below, isMap := node.(map[string]any)
		if path != "" {
			paths = append(paths, path)
		}
		if !isMap {
			return
		}
		for key, value := range below {
			walk(value, strings.TrimPrefix(path+"."+key, "."))
		}
	}
	walk(tree, "")
	slices.Sort(paths)
	return paths
}

// someValues returns values of every type, valid somewhere and invalid elsewhere. It
// has none that only the server refuses: null for a key without a default in Helm.
func someValues() []any {
	return []any{
		true, false, "", "true", "yes", 0, 1, -1, 2, 11, 1.5, 4000, "5Gi", "500m", "1", "5 Gi",
		"shop", "Shop", "my shop", "shop.example.com", "https://shop.example.com", "10.96.0.0/12", "10.96.0.1/12", "300.0.0.0/8", "10.0.0.0/33", "300.1.2.3", "fd00::/64", "fd00::1/64", "fd00:::1", "https://[fd00:::1]:443", "Delete", "Always", "json",
		[]any{}, []any{"shop"}, []any{"shop", "shop"}, []any{true}, []any{"ReadWriteMany"}, []any{"10.1.2.3/32", "10.1.2.0/24"}, []any{"10.0.0.0/8", "10.1.2.3/24"}, []any{map[string]any{"name": "pull"}},
		map[string]any{}, map[string]any{"team": "a"}, map[string]any{"team": true}, map[string]any{"a b": "c"},
		map[string]any{"memory": "1Gi"}, map[string]any{"memory": "4Gi", "cpu": 1}, map[string]any{"cpu": "1e-3"},
		map[string]any{"enabled": true}, map[string]any{"enabled": false}, map[string]any{"enabled": nil},
	}
}

// set sets a value at a path. A value on the way that is no map is replaced.
func set(tree map[string]any, path string, value any) {
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		below, isMap := tree[key].(map[string]any)
		if !isMap {
			below = map[string]any{}
			tree[key] = below
		}
		tree = below
	}
	tree[keys[len(keys)-1]] = value
}

// TestEveryValueIsRead changes one value after the other. Each has to change an
// object other than the config, or belong to a section that the server reads.
func TestEveryValueIsRead(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	others := map[string]string{
		"controlPlane.ingress.enabled":                                  "true",
		"controlPlane.ingress.host":                                     "other.example.com",
		"controlPlane.ingress.pathType":                                 "Prefix",
		"controlPlane.ingress.spec.tls":                                 "[{secretName: other}]",
		"controlPlane.tlsRoute.enabled":                                 "true",
		"controlPlane.tlsRoute.host":                                    "other.example.com",
		"controlPlane.tlsRoute.parentRefs":                              "[{name: other}]",
		"controlPlane.service.httpsNodePort":                            "32000",
		"controlPlane.statefulSet.imagePullSecrets":                     "[{name: pull}]",
		"controlPlane.advanced.workloadServiceAccount.imagePullSecrets": "[{name: pull}]",
		"controlPlane.statefulSet.image.pullPolicy":                     "Always",
		"controlPlane.statefulSet.env":                                  "[{name: A, value: b}]",
		"controlPlane.statefulSet.sidecarContainers":                    "[{name: a, image: b}]",
		"controlPlane.statefulSet.initContainers":                       "[{name: a, image: b}]",
		"controlPlane.statefulSet.hostAliases":                          "[{ip: 192.0.2.1, hostnames: [a]}]",
		"controlPlane.statefulSet.dnsPolicy":                            "Default",
		"controlPlane.statefulSet.dnsConfig":                            "{nameservers: [192.0.2.1]}",
		"controlPlane.statefulSet.scheduling.topologySpreadConstraints": "[{maxSkew: 1, topologyKey: rack, whenUnsatisfiable: DoNotSchedule}]",
		"controlPlane.statefulSet.persistence.addVolumes":               "[{name: a, emptyDir: {}}]",
		"controlPlane.statefulSet.persistence.addVolumeMounts":          "[{name: a, mountPath: /a}]",
		"controlPlane.serviceMonitor.enabled":                           "true",

		"controlPlane.statefulSet.security.containerSecurityContext.capabilities.drop": "[NET_RAW]",
		"controlPlane.statefulSet.persistence.volumeClaim.size":                        "6Gi",
		"controlPlane.statefulSet.persistence.volumeClaim.accessModes":                 "[ReadWriteMany]",
		"controlPlane.statefulSet.persistence.volumeClaim.retentionPolicy":             "Retain",
		"controlPlane.statefulSet.scheduling.tolerations":                              "[{key: a}]",
		"controlPlane.statefulSet.scheduling.affinity":                                 "{podAffinity: {}}",
		"controlPlane.service.spec.type":                                               "NodePort",
		"controlPlane.coredns.resources.requests":                                      "{cpu: 1m}",
		"controlPlane.coredns.resources.limits":                                        "{cpu: 3}",
		"controlPlane.coredns.resources.requests.cpu":                                  "1m",
		"controlPlane.coredns.resources.requests.memory":                               "1Mi",
		"controlPlane.coredns.resources.limits.memory":                                 "3Gi",
		"controlPlane.advanced.hooks.resources.requests.cpu":                           "1m",
		"controlPlane.advanced.hooks.resources.requests.memory":                        "1Mi",
		"controlPlane.advanced.hooks.resources.limits.memory":                          "3Gi",
		"controlPlane.statefulSet.resources.requests":                                  "{cpu: 1m}",
		"controlPlane.statefulSet.resources.limits":                                    "{cpu: 3}",
		"controlPlane.statefulSet.resources.requests.cpu":                              "1m",
		"controlPlane.statefulSet.resources.requests.memory":                           "1Mi",
		"controlPlane.statefulSet.resources.limits.memory":                             "3Gi",
		"controlPlane.statefulSet.persistence.volumeClaim.enabled":                     "false",
		"policies.resourceQuota.enabled":                                               "false",
		"policies.resourceQuota.scopes":                                                "[NotBestEffort]",
		"policies.resourceQuota.scopeSelector":                                         "{matchExpressions: [{scopeName: PriorityClass, operator: Exists}]}",
		"policies.limitRange.enabled":                                                  "false",
		"policies.fence.enabled":                                                       "false",
		"policies.limitRange.default":                                                  "{cpu: 1}",
		"policies.limitRange.min":                                                      "{cpu: 1m}",
		"policies.limitRange.max":                                                      "{cpu: 64}",
		"policies.networkPolicy.controlPlane.ingress":                                  "[{ports: [{port: 1}]}]",
		"policies.networkPolicy.controlPlane.egress":                                   "[{ports: [{port: 1}]}]",
		"policies.networkPolicy.workload.ingress":                                      "[{ports: [{port: 1}]}]",
		"policies.networkPolicy.workload.egress":                                       "[{ports: [{port: 1}]}]",
		"policies.networkPolicy.workload.publicEgress.cidr":                            "192.0.2.0/24",
		"policies.networkPolicy.workload.publicEgress.except":                          "[10.0.0.0/8]",
	}
	server := []string{"sync.", "networking.", "exportKubeConfig.", "logging.", "controlPlane.proxy.", "controlPlane.backingStore.", "controlPlane.statefulSet.highAvailability.",
		"controlPlane.statefulSet.autoscaling.", "controlPlane.advanced.split.",
		"controlPlane.advanced.virtualScheduler.",
		"controlPlane.advanced.hostClient.", "controlPlane.advanced.operator.", "policies.podSecurityStandard", "policies.pods.", "policies.images.",
		"policies.controlPlane.", "policies.objects.", "policies.streams.", "policies.writes.", "policies.devices.", "policies.readOnly", "policies.services.", "policies.ingresses.", "policies.endpoints.", "policies.volumes.",
		"controlPlane.advanced.encryption.", "controlPlane.advanced.authentication.", "controlPlane.advanced.audit.", "controlPlane.advanced.featureGates", "controlPlane.advanced.serviceAccountTokens.",
		"controlPlane.advanced.serviceAccountIssuer", "integrations.metricsServer.pods", "integrations.metricsServer.nodes",
		"experimental.deploy.", "integrations.argoCD.namespace", "integrations.argoCD.clusterRole", "integrations.argoCD.labels",
		"integrations.kubeletMetrics.insecureSkipTLSVerify"}
	plain := withoutConfig(mustRender(t, ch, ""))
	bases := map[string]string{"": plain}
	for _, path := range allPaths(t) {
		value, isLeaf := leaf(defaultTree(t), path)
		if !isLeaf || slices.ContainsFunc(server, func(section string) bool { return strings.HasPrefix(path, section) }) {
			continue
		}
		other, found := others[path]
		if !found {
			other = different(value)
		}
		if strings.HasPrefix(path, "policies.resourceQuota.quota.") || strings.HasPrefix(path, "policies.limitRange.defaultRequest.") {
			other = "7"
		}
		base := baseFor(path)
		if _, rendered := bases[base]; !rendered {
			bases[base] = withoutConfig(mustRender(t, ch, base))
		}
		tree, before := parse(t, base), bases[base]
		var parsed any
		if err := yaml.Unmarshal([]byte(other), &parsed); err != nil {
			t.Fatal(err)
		}
		set(tree, path, parsed)
		text, err := yaml.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		if path == "policies.limitRange.enabled" {
			text = append(text, "  resourceQuota: {quota: {requests.cpu: null, requests.memory: null}}\n"...)
		}
		t.Run(path, func(t *testing.T) {
			t.Parallel() // Each renders the whole chart.
			if withoutConfig(mustRender(t, ch, string(text))) == before {
				t.Errorf("%s: %s changes nothing that is rendered", path, other)
			}
		})
	}
}

// baseFor returns the values without which a setting changes nothing.
func baseFor(path string) string {
	for _, base := range []struct{ prefix, values string }{
		{"controlPlane.serviceMonitor.enabled", ""},
		{"controlPlane.serviceMonitor.", "controlPlane: {serviceMonitor: {enabled: true}}"},
		{"controlPlane.coredns.resources.", "controlPlane: {coredns: {replicas: 1}}"},
		{"controlPlane.ingress.enabled", "controlPlane: {ingress: {host: shop.example.com}}"},
		{"controlPlane.ingress.", "controlPlane: {ingress: {enabled: true, host: shop.example.com}}"},
		{"controlPlane.tlsRoute.enabled", "controlPlane: {tlsRoute: {host: shop.example.com, parentRefs: [{name: edge}]}}"},
		{"controlPlane.tlsRoute.", "controlPlane: {tlsRoute: {enabled: true, host: shop.example.com, parentRefs: [{name: edge}]}}"},
		{"controlPlane.service.httpsNodePort", "controlPlane: {service: {spec: {type: NodePort}}}"},
	} {
		if strings.HasPrefix(path, base.prefix) {
			return base.values
		}
	}
	return ""
}

// withoutConfig returns all that is rendered, except for the config and its checksum.
func withoutConfig(r rendering) string {
	var out strings.Builder
	for _, path := range slices.Sorted(maps.Keys(r.text)) {
		if strings.HasSuffix(path, "/config.yaml") {
			continue
		}
		fmt.Fprintf(&out, "---\n# Source: %s\n", path)
		for line := range strings.Lines(strings.TrimSpace(r.text[path]) + "\n") {
			if !strings.Contains(line, "checksum/config") {
				out.WriteString(line)
			}
		}
	}
	return out.String()
}

// leaf returns the value at a path that has no keys below it.
func leaf(tree any, path string) (any, bool) {
	for key := range strings.SplitSeq(path, ".") {
		node, isMap := tree.(map[string]any)
		if !isMap {
			return nil, false
		}
		value, found := node[key]
		if !found {
			return nil, false
		}
		tree = value
	}
	below, isMap := tree.(map[string]any)
	return tree, !isMap || len(below) == 0
}

// different returns another valid value than the default, in YAML.
func different(value any) string {
	switch value := value.(type) {
	case bool:
		return fmt.Sprint(!value)
	case float64:
		return fmt.Sprint(value + 1)
	case map[string]any:
		return "{team: a}"
	}
	return "other"
}
