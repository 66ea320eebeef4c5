package chart_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"github.com/sublet-dev/sublet/api/release"
)

// threeReplicas is a rendering with three replicas on an external etcd.
const threeReplicas = `
controlPlane:
  backingStore: {etcd: {external: {enabled: true, endpoint: "https://etcd.example.com:2379"}}}
  statefulSet: {highAvailability: {replicas: 3}}
`

// TestReplicas renders three replicas and one. The latter renders as without the settings.
func TestReplicas(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	rendered := mustRender(t, ch, threeReplicas)
	set := object[*appsv1.StatefulSet](t, rendered, "shop")
	pod := set.Spec.Template.Spec
	if *set.Spec.Replicas != 3 || set.Spec.ServiceName != "shop" || set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
		t.Errorf("%d replicas, Service %s, policy %s", *set.Spec.Replicas, set.Spec.ServiceName, set.Spec.PodManagementPolicy)
	}
	selector := release.Release{Name: "shop"}.ControlPlaneSelector()
	for _, name := range []string{"shop", "shop-dns", "shop-operator"} {
		service := object[*corev1.Service](t, rendered, name).Spec
		if diff := cmp.Diff(selector, service.Selector); diff != "" || service.PublishNotReadyAddresses {
			t.Errorf("Service %s leads to unready pods: %t, and selects (-want +got):\n%s", name, service.PublishNotReadyAddresses, diff)
		}
	}
	budget := object[*policyv1.PodDisruptionBudget](t, rendered, "shop").Spec
	if diff := cmp.Diff(selector, budget.Selector.MatchLabels); diff != "" || budget.MaxUnavailable.IntValue() != 1 {
		t.Errorf("at most %s may be away, of (-want +got):\n%s", budget.MaxUnavailable, diff)
	}
	apart := pod.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	if len(apart) != 1 || apart[0].PodAffinityTerm.TopologyKey != corev1.LabelHostname ||
		!cmp.Equal(selector, apart[0].PodAffinityTerm.LabelSelector.MatchLabels) {
		t.Errorf("the pods do not prefer nodes of their own: %v", apart)
	}
	spread := pod.TopologySpreadConstraints
	if len(spread) != 1 || spread[0].TopologyKey != corev1.LabelTopologyZone || spread[0].WhenUnsatisfiable != corev1.ScheduleAnyway {
		t.Errorf("the pods do not spread over zones: %v", spread)
	}
	if hook := pod.Containers[0].Lifecycle; hook == nil || hook.PreStop.Sleep.Seconds < 1 {
		t.Errorf("a replica stops before the Service has removed it: %v", hook)
	}

	for reason, values := range map[string]string{
		"replicas: 1 is the default":     "controlPlane: {statefulSet: {highAvailability: {replicas: 1}}}",
		"enabled: false is one replica":  "controlPlane: {statefulSet: {highAvailability: {enabled: false, replicas: 3}}}",
		"enabled: true without a number": "controlPlane: {statefulSet: {highAvailability: {enabled: true}}}",
	} {
		if diff := cmp.Diff(withoutConfig(mustRender(t, ch, "")), withoutConfig(mustRender(t, ch, values))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", reason, diff)
		}
	}
}

// TestOwnAntiAffinity sets an anti-affinity, which replaces the preference of the chart.
func TestOwnAntiAffinity(t *testing.T) {
	t.Parallel()
	own := `
    scheduling: {affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: rack}]}}}
`
	set := object[*appsv1.StatefulSet](t, mustRender(t, loadChart(t), `
controlPlane:
  backingStore: {etcd: {external: {enabled: true, endpoint: "https://etcd.example.com:2379"}}}
  statefulSet:
    highAvailability: {replicas: 3}`+own), "shop")
	apart := set.Spec.Template.Spec.Affinity.PodAntiAffinity
	if len(apart.PreferredDuringSchedulingIgnoredDuringExecution) != 0 || len(apart.RequiredDuringSchedulingIgnoredDuringExecution) != 1 {
		t.Errorf("got %v", apart)
	}
}
