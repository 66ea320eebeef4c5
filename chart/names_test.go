package chart_test

import (
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
