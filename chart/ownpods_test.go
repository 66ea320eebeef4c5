package chart_test

import (
	"maps"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"pgregory.net/rapid"
)

// withAllPods is a rendering with all pods that the chart can have, and all that they can mount.
const withAllPods = `
controlPlane:
  backingStore:
    etcd: {external: {enabled: true, endpoint: "https://etcd:2379", tls: {secret: etcd}}}
    backup: {enabled: true, volumeClaim: {accessModes: [ReadWriteMany]}}
  coredns: {replicas: 2}
  statefulSet:
    sidecarContainers: [{name: proxy, image: proxy}]
    initContainers: [{name: wait, image: wait}]
  advanced:
    split: {enabled: true}
    audit: {enabled: true, webhook: {secret: audit}}
sync: {toHost: {pods: {patches: [{path: spec.hostname, expression: '"a"'}]}}}
`

// podsOf returns the pods of a rendering, and those that its workloads create.
func podsOf(r rendering) map[string]corev1.PodTemplateSpec {
	pods := map[string]corev1.PodTemplateSpec{}
	for key, candidate := range r.objects {
		switch found := candidate.(type) {
		case *appsv1.StatefulSet:
			pods[key] = found.Spec.Template
		case *appsv1.Deployment:
			pods[key] = found.Spec.Template
		case *corev1.Pod:
			pods[key] = corev1.PodTemplateSpec{ObjectMeta: found.ObjectMeta, Spec: found.Spec}
		}
	}
	return pods
}

// TestRestricted asks the admission of Pod Security whether all pods may run in a namespace that enforces
// the profile "restricted".
func TestRestricted(t *testing.T) {
	t.Parallel()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ch := loadChart(t)
	level := psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}
	for values, count := range map[string]int{"": 3, toggled: 3, emptyDir: 3, withAllPods: 6} {
		pods := podsOf(mustRender(t, ch, values))
		if len(pods) != count {
			t.Errorf("there are %d sorts of pods, want %d", len(pods), count)
		}
		for key, pod := range pods {
			result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
			if !result.Allowed {
				t.Errorf("%s is not restricted: %s", key, result.ForbiddenDetail())
			}
		}
	}
}

// TestQuotaOfTheHost renders pods that a ResourceQuota of the host accepts, which refuses containers without requests and
// limits.
func TestQuotaOfTheHost(t *testing.T) {
	t.Parallel()
	const limit = "{resources: {limits: {cpu: 1}}}"
	pods := podsOf(mustRender(t, loadChart(t), `
controlPlane:
  statefulSet: `+limit+`
  coredns: {replicas: 2, resources: {limits: {cpu: 1}}}
  advanced: {hooks: `+limit+`}
sync: {toHost: {pods: {patches: [{path: spec.hostname, expression: '"a"'}]}}}
`))
	if len(pods) != 5 {
		t.Errorf("there are %d sorts of pods, want 5", len(pods))
	}
	for key, pod := range pods {
		for _, container := range pod.Spec.Containers {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				if container.Resources.Requests[name].Equal(resource.Quantity{}) || container.Resources.Limits[name].Equal(resource.Quantity{}) {
					t.Errorf("%s has no request or limit of %s: %v", key, name, container.Resources)
				}
			}
		}
	}
}

// TestOwnPodsFitLimitRange draws settings of the LimitRange and of the pods of the release. If the chart accepts them,
// the host accepts the LimitRange, and the pods with it.
func TestOwnPodsFitLimitRange(t *testing.T) {
	t.Parallel()
	ch := onlyTemplates(loadChart(t), ".tpl", "/statefulset.yaml", "/dns.yaml", "/limitrange.yaml", "/ready.yaml")
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		tree := map[string]any{}
		set(tree, "controlPlane.coredns.replicas", rapid.SampledFrom([]int{0, 1}).Draw(t, "DNS"))
		paths := []string{
			"policies.limitRange.min", "policies.limitRange.max", "policies.limitRange.default", "policies.limitRange.defaultRequest",
			"controlPlane.statefulSet.resources.requests", "controlPlane.statefulSet.resources.limits",
			"controlPlane.coredns.resources.requests", "controlPlane.coredns.resources.limits",
			"controlPlane.advanced.hooks.resources.requests", "controlPlane.advanced.hooks.resources.limits",
		}
		amounts := map[string][]any{"cpu": {"10m", "50m", "0.5", 1, 2}, "memory": {"16Mi", "32Mi", "64Mi", "256Mi", "1Gi", 2147483648, "4Gi"}}
		for range rapid.IntRange(1, 3).Draw(t, "settings") {
			name := rapid.SampledFrom([]string{"cpu", "memory"}).Draw(t, "resource")
			set(tree, rapid.SampledFrom(paths).Draw(t, "path")+"."+name, rapid.SampledFrom(amounts[name]).Draw(t, "amount"))
		}
		rendered, err := render(ch, tree)
		if err != nil {
			if !strings.Contains(err.Error(), "in the values") {
				t.Fatal(err)
			}
			return
		}
		accepted++
		item := withDefaults(rendered.objects["LimitRange/shop"].(*corev1.LimitRange).Spec.Limits[0])
		for _, pair := range [][2]corev1.ResourceList{
			{item.Min, item.DefaultRequest}, {item.Min, item.Default}, {item.Min, item.Max},
			{item.DefaultRequest, item.Default}, {item.DefaultRequest, item.Max}, {item.Default, item.Max},
		} {
			if name, ok := anyMore(pair[0], pair[1]); ok {
				t.Fatalf("the host refuses the LimitRange for its %s: %+v\n%v", name, item, tree)
			}
		}
		for key, pod := range podsOf(rendered) {
			own := pod.Spec.Containers[0].Resources
			requests, limits := merged(own.Requests, item.DefaultRequest), merged(own.Limits, item.Default)
			for _, pair := range [][2]corev1.ResourceList{{requests, limits}, {item.Min, requests}, {item.Min, limits}, {requests, item.Max}, {limits, item.Max}} {
				if name, ok := anyMore(pair[0], pair[1]); ok {
					t.Fatalf("the host refuses %s for its %s: requests %v, limits %v, limit range %+v\n%v", key, name, requests, limits, item, tree)
				}
			}
		}
	})
	if accepted == 0 {
		t.Error("the chart accepts none of the settings")
	}
}

// withDefaults returns a LimitRange as the API server completes it.
func withDefaults(item corev1.LimitRangeItem) corev1.LimitRangeItem {
	item.Default = merged(item.Default, item.Max)
	item.DefaultRequest = merged(merged(item.DefaultRequest, item.Default), item.Min)
	return item
}

// merged returns the amounts of both lists. Those of the first win.
func merged(first, second corev1.ResourceList) corev1.ResourceList {
	all := maps.Clone(second)
	if all == nil {
		all = corev1.ResourceList{}
	}
	maps.Copy(all, first)
	return all
}

// anyMore returns a resource of which the first list has more than the second.
func anyMore(first, second corev1.ResourceList) (corev1.ResourceName, bool) {
	for name, amount := range first {
		if other, ok := second[name]; ok && amount.Cmp(other) > 0 {
			return name, true
		}
	}
	return "", false
}
