package chart_test

import (
	gocmp "cmp"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// TestQuotaLeavesOutTheControlPlane checks that each key which counts the control plane's
// pod is in a quota with the scope that leaves that pod out.
func TestQuotaLeavesOutTheControlPlane(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	rendered := mustRender(t, ch, "policies: {resourceQuota: {quota: {cpu: 1, memory: 1Gi, limits.cpu: 1, limits.memory: 1Gi}}}")
	pods := object[*corev1.ResourceQuota](t, rendered, "shop-pods").Spec
	if diff := cmp.Diff([]corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}, pods.Scopes); diff != "" {
		t.Errorf("the quota of pods counts the control plane's pod (-want +got):\n%s", diff)
	}
	var keys []string
	for name := range pods.Hard {
		keys = append(keys, string(name))
	}
	want := []string{"cpu", "limits.cpu", "limits.memory", "memory", "pods", "requests.cpu", "requests.memory"}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(keys))); diff != "" {
		t.Errorf("keys of the quota of pods (-want +got):\n%s", diff)
	}
	for name := range object[*corev1.ResourceQuota](t, rendered, "shop-objects").Spec.Hard {
		if slices.Contains(want, string(name)) {
			t.Errorf("the quota without scope has %s", name)
		}
	}
}

// TestQuotaScopes checks that quotas of other scopes have other names: the host refuses to change the
// scopes of one.
func TestQuotaScopes(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	for scopes, want := range map[string]string{
		"[]": "shop-pods", "[PriorityClass]": "shop-pods-priorityclass",
		"[PriorityClass, NotBestEffort]": "shop-pods-notbesteffort-priorityclass",
		"[NotBestEffort, PriorityClass]": "shop-pods-notbesteffort-priorityclass",
	} {
		rendered := mustRender(t, ch, "policies: {resourceQuota: {scopes: "+scopes+"}}")
		quota := object[*corev1.ResourceQuota](t, rendered, want).Spec
		if len(quota.Scopes) != strings.Count(want, "-") {
			t.Errorf("%s: ResourceQuota %s has the scopes %v", scopes, want, quota.Scopes)
		}
	}
}

// TestQuotaOfPodObjects checks that the host does not enforce a key that counts the control
// plane's pod and can have no scope. The server enforces it.
func TestQuotaOfPodObjects(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), "policies: {resourceQuota: {quota: {count/pods: 20}}}")
	for _, name := range []string{"shop-pods", "shop-objects"} {
		if hard, found := object[*corev1.ResourceQuota](t, rendered, name).Spec.Hard["count/pods"]; found {
			t.Errorf("ResourceQuota %s has count/pods: %s", name, hard.String())
		}
	}
}

func TestQuotaSwitches(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	const both = "LimitRange/shop ResourceQuota/shop-objects ResourceQuota/shop-pods"
	for _, c := range []struct{ reason, values, want string }{
		{"auto is on", "", both},
		{"the limit range follows the quota", "{resourceQuota: {enabled: false}}", ""},
		{"a limit range alone", "{resourceQuota: {enabled: false}, limitRange: {enabled: true}}", "LimitRange/shop"},
		{"text is a value too, as vCluster takes it", `{resourceQuota: {enabled: "false"}}`, ""},
		{
			"a quota of objects alone needs no limit range",
			"{resourceQuota: {quota: {requests.cpu: null, requests.memory: null, pods: null}}, limitRange: {enabled: false}}",
			"ResourceQuota/shop-objects",
		},
	} {
		rendered := mustRender(t, ch, "policies: "+gocmp.Or(c.values, "{}"))
		var got []string
		for _, key := range slices.Sorted(maps.Keys(rendered.objects)) {
			if strings.HasPrefix(key, "LimitRange/") || strings.HasPrefix(key, "ResourceQuota/") {
				got = append(got, key)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: the chart renders %v, want %s", c.reason, got, c.want)
		}
	}
}
