package chart_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

const scaled = `
controlPlane:
  backingStore: {etcd: {external: {enabled: true, endpoint: "https://etcd.example.com:2379"}}}
  statefulSet: {autoscaling: {enabled: true, minReplicas: 2, maxReplicas: 7, `

// TestHorizontalPodAutoscaler renders targets of CPU and memory.
func TestHorizontalPodAutoscaler(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	rendered := mustRender(t, ch, scaled+`targetCPUUtilizationPercentage: 70, targetMemoryUtilizationPercentage: 90,
    behavior: {scaleUp: {stabilizationWindowSeconds: 15}}}}`)
	compareGolden(t, "testdata/autoscaling.yaml", rendered.text["sublet/templates/horizontalpodautoscaler.yaml"])
	got := object[*autoscalingv2.HorizontalPodAutoscaler](t, rendered, "shop").Spec.ScaleTargetRef
	set := object[*appsv1.StatefulSet](t, rendered, got.Name)
	if got.Kind != "StatefulSet" || got.APIVersion != appsv1.SchemeGroupVersion.String() || set.Spec.Replicas != nil {
		t.Errorf("the autoscaler scales %v, whose replicas are %v", got, set.Spec.Replicas)
	}
	if service := object[*corev1.Service](t, rendered, "shop").Spec; service.PublishNotReadyAddresses || len(service.Selector) != 3 {
		t.Errorf("the Service leads to one pod: %v", service.Selector)
	}
	object[*policyv1.PodDisruptionBudget](t, rendered, "shop")
	if scales := scaleRules(t, rendered); len(scales) != 0 {
		t.Errorf("the server may scale next to an autoscaler: %v", scales)
	}
	config := func(values string) string {
		return object[*appsv1.StatefulSet](t, mustRender(t, ch, values), "shop").Spec.Template.Annotations["checksum/config"]
	}
	if config(scaled+`targetCPUUtilizationPercentage: 70}}`) != config(scaled+`targetCPUUtilizationPercentage: 80}}`) {
		t.Error("another target of CPU restarts the replicas")
	}
	if config(scaled+`targetRequestsPerSecond: 70}}`) == config(scaled+`targetRequestsPerSecond: 80}}`) {
		t.Error("another target of requests does not restart the replicas, which read it at the start")
	}
}

// TestScaleByRequests renders a target of requests per second, which the server holds.
func TestScaleByRequests(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	rendered := mustRender(t, ch, scaled+`targetRequestsPerSecond: 100}}`)
	want := []rbacv1.PolicyRule{{
		APIGroups: []string{"apps"}, Resources: []string{"statefulsets/scale"}, ResourceNames: []string{"shop"}, Verbs: []string{"patch"},
	}}
	if diff := cmp.Diff(want, scaleRules(t, rendered)); diff != "" {
		t.Errorf("permissions to scale (-want +got):\n%s", diff)
	}
	for name, o := range rendered.objects {
		if _, ok := o.(*autoscalingv2.HorizontalPodAutoscaler); ok {
			t.Errorf("the chart renders %s", name)
		}
	}
	off := mustRender(t, ch, `controlPlane: {statefulSet: {autoscaling: {targetRequestsPerSecond: 100, targetCPUUtilizationPercentage: 80}}}`)
	if diff := cmp.Diff(withoutConfig(mustRender(t, ch, "")), withoutConfig(off)); diff != "" {
		t.Errorf("autoscaling is not enabled (-want +got):\n%s", diff)
	}
}

// scaleRules returns the rules about the scale of workloads.
func scaleRules(t *testing.T, r rendering) []rbacv1.PolicyRule {
	t.Helper()
	var rules []rbacv1.PolicyRule
	for _, rule := range object[*rbacv1.Role](t, r, "shop").Rules {
		for _, resource := range rule.Resources {
			if resource == "statefulsets/scale" {
				rules = append(rules, rule)
			}
		}
	}
	return rules
}

// TestFenceOfScale checks that the fence lets the server scale within the bounds, and only if it
// is to scale.
func TestFenceOfScale(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	own := func(values string) string {
		fence := object[*admissionregistrationv1.ValidatingAdmissionPolicy](t, mustRender(t, ch, fenceOn+values), "shop.tenant.sublet.dev")
		return variable(t, fence, "own")
	}
	if got := own(scaled + `targetRequestsPerSecond: 100}}`); !strings.Contains(got, "object.spec.replicas >= 2 && object.spec.replicas <= 7") {
		t.Errorf("the fence does not bound the number of replicas: %s", got)
	}
	for reason, values := range map[string]string{"autoscaling is off": "", "the autoscaler of the host scales": scaled + `targetCPUUtilizationPercentage: 70}}`} {
		if got := own(values); strings.Contains(got, "scale") {
			t.Errorf("%s, and the fence lets the server scale: %s", reason, got)
		}
	}
}
