package chart_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// TestDatabase checks what the pod gets for a database outside of the control plane.
func TestDatabase(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	for name, tc := range map[string]struct {
		reason, settings string
		files            []string
		ports            []int32
	}{
		"SQLite":   {reason: "it needs neither", settings: "{embedded: {enabled: true}}"},
		"Disabled": {reason: "a store that is not used needs neither", settings: "{external: {dataSourceSecret: {name: db}, tlsSecret: ca}}"},
		"Secrets": {
			reason:   "the pod mounts both Secrets, the address under its one name, and reaches the usual ports",
			settings: "{external: {enabled: true, dataSourceSecret: {name: db, key: uri}, tlsSecret: ca}}",
			files:    []string{"ca", "db uri as dataSource"}, ports: []int32{3306, 5432},
		},
		"Port": {
			reason:   "a port that is set is the only one",
			settings: "{external: {enabled: true, dataSourceSecret: {name: db}, port: 5433}}",
			files:    []string{"db dataSource as dataSource"}, ports: []int32{5433},
		},
		"MySQL": {
			reason:   "the port is in the address, after a password that looks like one",
			settings: "{external: {enabled: true, dataSource: 'mysql://root:1:2/@tcp(db:3307)/shop'}}", ports: []int32{3307},
		},
		"PostgreSQL": {
			reason: "the usual port", settings: "{external: {enabled: true, dataSource: 'postgres://root:1@db/shop'}}", ports: []int32{5432},
		},
	} {
		rendered := mustRender(t, ch, "controlPlane: {backingStore: {database: "+tc.settings+"}}")
		pod := object[*appsv1.StatefulSet](t, rendered, "shop").Spec.Template.Spec
		var files []string
		if i := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "store" }); i >= 0 {
			for _, source := range pod.Volumes[i].Projected.Sources {
				file := source.Secret.Name
				for _, item := range source.Secret.Items {
					file += " " + item.Key + " as " + item.Path
				}
				files = append(files, file)
			}
		}
		if diff := cmp.Diff(tc.files, files); diff != "" {
			t.Errorf("%s: %s: Secrets (-want +got):\n%s", name, tc.reason, diff)
		}
		var ports []int32
		policy := object[*networkingv1.NetworkPolicy](t, rendered, "shop-control-plane")
		for _, rule := range policy.Spec.Egress {
			for _, port := range rule.Ports {
				if len(rule.To) == 0 && slices.Contains([]int32{3306, 3307, 5432, 5433}, port.Port.IntVal) {
					ports = append(ports, port.Port.IntVal)
				}
			}
		}
		if diff := cmp.Diff(tc.ports, ports); diff != "" {
			t.Errorf("%s: %s: ports (-want +got):\n%s", name, tc.reason, diff)
		}
	}
}
