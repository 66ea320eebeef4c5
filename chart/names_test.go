package chart_test

import (
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
)

// TestNamesAreText renders releases, namespaces and Secrets whose names YAML reads as numbers or as something
// else, such as those of customers 10234 and Norway.
func TestNamesAreText(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	settings := []string{
		"", toggled, noClusterRights, emptyDir,
		`{controlPlane: {coredns: {replicas: 2}, statefulSet: {highAvailability: {replicas: 3}}, serviceMonitor: {enabled: true},
			backingStore: {backup: {enabled: true, volumeClaim: {accessModes: [ReadWriteMany]}}}}}`,
		`{controlPlane: {advanced: {split: {enabled: true, replicas: 2}, audit: {enabled: true, webhook: {secret: "1e3"}}},
			backingStore: {etcd: {external: {enabled: true, endpoint: 'https://etcd:2379', tls: {secret: "no"}}}}}}`,
		`{controlPlane: {backingStore: {database: {external: {enabled: true, dataSourceSecret: {name: "10", key: "on"}, tlsSecret: "yes"}}},
			statefulSet: {autoscaling: {enabled: true, targetCPUUtilizationPercentage: 80}}}}`,
		`{controlPlane: {ingress: {enabled: true, host: shop.example.com, spec: {ingressClassName: "no"}}}, policies: {fence: {enabled: true}},
			exportKubeConfig: {additionalSecrets: [{name: "1", namespace: "2"}]}, integrations: {argoCD: {enabled: true, namespace: "3"}}}`,
		`{controlPlane: {tlsRoute: {enabled: true, host: shop.example.com, parentRefs: [{name: gateway}]}},
			sync: {fromHost: {secrets: {enabled: true, mappings: {byName: {"10234/ca": "default/ca"}}}},
				toHost: {pods: {patches: [{path: spec.hostname, expression: '"a"'}]}}}}`,
	}
	for _, names := range [][2]string{{"shop", "10234"}, {"no", "1e3"}, {"null", "n"}} {
		release := common.ReleaseOptions{Name: names[0], Namespace: names[1], Revision: 1, IsInstall: true}
		for _, values := range settings {
			if _, err := renderOn(ch, release, "v1.37.0", parse(t, values)); err != nil {
				t.Errorf("release %s in namespace %s: %v\nwith %s", names[0], names[1], err, values)
			}
		}
	}
}

// TestReplicasOfOwnServices checks that no Service of the tenant gets the name of one of the release's own, whose
// selector the account could write then.
func TestReplicasOfOwnServices(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	for to, want := range map[string]bool{
		"shop": false, "shop-dns": false, "shop-operator": false, "shop-controllers": false, "shop-peer-0": false, "shop-peer-4": false,
		"shop-web": true, "web": true, "my-shop-dns": true, "shop-dns-2": true,
	} {
		_, err := render(ch, parse(t, "networking: {replicateServices: {toHost: [{from: default/web, to: "+to+"}]}}"))
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), `networking.replicateServices.toHost: Invalid value: "`+to+`"`) {
			t.Errorf("%s: accepted %t, got %v", to, want, err)
		}
	}
}
