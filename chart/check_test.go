package chart_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestCheck renders the pod that checks the values where only the server can compile them, and
// nowhere else: an installation without it is faster.
func TestCheck(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	const patches = `{patches: [{path: 'metadata.labels["a"]', expression: '"b"'}]}`
	for _, c := range []struct {
		name, values string
		want         bool
	}{
		{"defaults", "", false},
		{"patches of the tenant's kinds", "sync: {toHost: {pods: " + patches + "}}", true},
		{"patches of the host's kinds", "sync: {fromHost: {storageClasses: " + patches + "}}", true},
		{"patches of custom resources", "sync: {toHost: {customResources: {widgets.example.com: " + patches + "}}}", true},
		{"custom resources without patches", "sync: {toHost: {customResources: {widgets.example.com: {}}}}", false},
		{
			"issuers", `controlPlane: {advanced: {authentication: {jwt: [{issuer: {url: "https://login.example.com", audiences: [shop]}, ` +
				`claimMappings: {username: {expression: claims.email}}}]}}}`, true,
		},
		{"selector of the host's kinds", "sync: {fromHost: {storageClasses: {selector: {matchLabels: {team: shop}}}}}", true},
		{"selector of custom resources of the host", "sync: {fromHost: {customResources: {widgets.example.com: {selector: {matchLabels: {team: shop}}}}}}", true},
		{"selector of nodes", "sync: {fromHost: {nodes: {selector: {all: false, labels: {team: shop}}}}}", false},
		{"audit log", "controlPlane: {advanced: {audit: {enabled: true}}}", false},
		{"rules of an audit log", "controlPlane: {advanced: {audit: {enabled: true, policy: {rules: [{level: None, verbs: [get]}]}}}}", true},
		{"rules of an audit log that is off", "controlPlane: {advanced: {audit: {policy: {rules: [{level: None, verbs: [get]}]}}}}", false},
		{"scheduler with a configuration", `controlPlane: {advanced: {virtualScheduler: {enabled: true, config: "kind: Other"}}}`, true},
		{"scheduler without a configuration", `controlPlane: {advanced: {virtualScheduler: {enabled: true}}}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rendered := mustRender(t, ch, c.values)
			if _, got := rendered.objects["Pod/shop-check"]; got != c.want {
				t.Fatalf("there is a pod: %t, want %t", got, c.want)
			}
			if !c.want {
				return
			}
			pod, secret := object[*corev1.Pod](t, rendered, "shop-check"), object[*corev1.Secret](t, rendered, "shop-check")
			config := object[*corev1.Secret](t, rendered, "shop-config")
			if string(secret.Data["config.yaml"]) != string(config.Data["config.yaml"]) {
				t.Error("the pod checks something else than the server reads")
			}
			if pod.Annotations["helm.sh/hook"] != "pre-install,pre-upgrade" || secret.Annotations["helm.sh/hook-weight"] != "-1" {
				t.Errorf("the pod does not run first: %v, %v", pod.Annotations, secret.Annotations)
			}
			if pod.Spec.Volumes[0].Secret.SecretName != "shop-check" || pod.Spec.ActiveDeadlineSeconds != nil {
				t.Errorf("the pod cannot read the values, or has a deadline: the quota of the tenant would count it. %v", pod.Spec)
			}
		})
	}
}
