package chart_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

// TestExports renders Secrets in other namespaces, with a Role for just these.
func TestExports(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	rendered := mustRender(t, ch, `
exportKubeConfig:
  secret: {name: second}
  additionalSecrets:
    - {name: ci, namespace: build}
    - {name: cd, namespace: build}
integrations: {argoCD: {enabled: true}}
policies: {fence: {enabled: true}}
`)
	text := rendered.text["sublet/templates/exports.yaml"]
	if n := strings.Count(text, "kind: Secret\n"); n != 4 {
		t.Errorf("there are %d Secrets:\n%s", n, text)
	}
	got := map[string]rbacv1.PolicyRule{}
	for _, found := range rendered.objects {
		if role, ok := found.(*rbacv1.Role); ok && role.Name == "sublet.tenant.shop" && len(role.Rules) == 1 {
			got[role.Namespace] = role.Rules[0]
		}
	}
	rule := func(names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: names, Verbs: []string{"get", "update", "watch"}}
	}
	want := map[string]rbacv1.PolicyRule{
		"tenant": rule("second"), "build": rule("ci", "cd"), "argocd": rule("sublet.tenant.shop"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the control plane may (-want +got):\n%s", diff)
	}
	if fence := rendered.text["sublet/templates/fence.yaml"]; !strings.Contains(fence, "variables.name == 'second' && request.operation == 'UPDATE'") || strings.Contains(fence, "'ci'") {
		t.Error("the fence lets the control plane write other Secrets than second")
	}
	if policy := rendered.text["sublet/templates/networkpolicy.yaml"]; !strings.Contains(policy, "kubernetes.io/metadata.name: \"argocd\"") {
		t.Error("Argo CD does not reach the virtual API")
	}
	if _, err := render(ch, parse(t, "exportKubeConfig: {additionalSecrets: [{name: shop-certs}]}")); err == nil || !strings.Contains(err.Error(), "shop-certs") {
		t.Errorf("a Secret of the release is overwritten: %v", err)
	}
}
