package chart_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/sublet-dev/sublet/api/release"
)

// dnsPods is a rendering whose DNS runs in pods of its own.
const dnsPods = `
controlPlane:
  coredns: {replicas: 2}
  statefulSet: {scheduling: {tolerations: [{key: dedicated, operator: Exists}]}}
networking: {advanced: {clusterDomain: shop.local}}
`

func TestDNSPods(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), dnsPods)
	own := release.Release{Name: "shop", Namespace: "tenant"}
	deployment := object[*appsv1.Deployment](t, rendered, own.DNS())
	pod := deployment.Spec.Template
	service := object[*corev1.Service](t, rendered, own.DNS()).Spec
	if diff := cmp.Diff(own.DNSSelector(), service.Selector); diff != "" || service.PublishNotReadyAddresses {
		t.Errorf("the Service leads to pods that are not ready: %t, and selects (-want +got):\n%s", service.PublishNotReadyAddresses, diff)
	}
	if diff := cmp.Diff(own.DNSSelector(), deployment.Spec.Selector.MatchLabels); diff != "" {
		t.Errorf("selector of the Deployment (-want +got):\n%s", diff)
	}
	if budget := object[*policyv1.PodDisruptionBudget](t, rendered, own.DNS()).Spec; budget.MaxUnavailable.IntValue() != 1 ||
		!cmp.Equal(own.DNSSelector(), budget.Selector.MatchLabels) || *deployment.Spec.Replicas != 2 {
		t.Errorf("one of two pods may be away: %v", budget)
	}
	for key, value := range own.DNSSelector() {
		if pod.Labels[key] != value {
			t.Errorf("the pods do not have the label %s: %s", key, value)
		}
	}
	set := object[*appsv1.StatefulSet](t, rendered, "shop").Spec.Template.Spec.Containers[0]
	if !slices.Contains(set.Args, "--dns-port=-1") || len(set.Ports) != 3 {
		t.Errorf("the control plane serves DNS too: %v, ports %v", set.Args, set.Ports)
	}
	container := pod.Spec.Containers[0]
	const networking = `--networking={"advanced":{"clusterDomain":"shop.local","dns":{"allowedCIDRs":[],"forward":{},"hosts":{},"nodeSearchDomains":false,"queriesPerSecond":1000,"rewrite":{}}},"resolveDNS":[],"serviceCIDR":"","serviceNodePortRange":""}`
	if container.Args[0] != "dns" || !slices.Contains(container.Args, "--server=https://shop.tenant") || !slices.Contains(container.Args, networking) {
		t.Errorf("the DNS server does not get its settings: %q", container.Args)
	}
	if volume := pod.Spec.Volumes; len(volume) != 1 || volume[0].Secret.SecretName != own.DNS() || volume[0].Secret.Optional != nil {
		t.Errorf("a DNS pod has its own credential and nothing else, got %v", volume)
	}
	if len(pod.Spec.Tolerations) != 1 {
		t.Errorf("DNS pods do not run where the control plane may: %v", pod.Spec.Tolerations)
	}
}

// TestDNSPodsAreConfined checks that a DNS pod has no rights on the host and on its node.
func TestDNSPodsAreConfined(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), dnsPods)
	pod := object[*appsv1.Deployment](t, rendered, "shop-dns").Spec.Template
	account := object[*corev1.ServiceAccount](t, rendered, "shop-dns")
	if *account.AutomountServiceAccountToken || *pod.Spec.AutomountServiceAccountToken || pod.Spec.ServiceAccountName != account.Name {
		t.Errorf("a DNS pod has a token for the host")
	}
	if readOnly := pod.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
		t.Errorf("the root file system can be written to")
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}
	results := evaluator.EvaluatePod(level, &metav1.ObjectMeta{}, &pod.Spec)
	if result := policy.AggregateCheckResults(results); !result.Allowed {
		t.Errorf("a namespace with %v refuses it: %s", level, result.ForbiddenDetail())
	}
}

// TestNoDNSPods checks that the default has no object of them.
func TestNoDNSPods(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), "controlPlane: {coredns: {replicas: 0}}")
	for name, object := range rendered.objects {
		switch object.(type) {
		case *appsv1.Deployment, *policyv1.PodDisruptionBudget:
			t.Errorf("the default install has %s", name)
		}
	}
}
