package chart_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestIngress renders the way to the virtual API through an Ingress.
func TestIngress(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), `
controlPlane:
  ingress:
    enabled: true
    host: shop.example.com
    annotations: {team: a}
    spec: {ingressClassName: edge, tls: [{hosts: [shop.example.com]}]}
`)
	ingress := object[*networkingv1.Ingress](t, rendered, "shop")
	class, kind := "edge", networkingv1.PathTypeImplementationSpecific
	want := networkingv1.IngressSpec{
		IngressClassName: &class, TLS: []networkingv1.IngressTLS{{Hosts: []string{"shop.example.com"}}},
		Rules: []networkingv1.IngressRule{{Host: "shop.example.com", IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", PathType: &kind, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
					Name: "shop", Port: networkingv1.ServiceBackendPort{Name: "https"},
				}},
			}}},
		}}},
	}
	if diff := cmp.Diff(want, ingress.Spec); diff != "" {
		t.Errorf("the Ingress (-want +got):\n%s", diff)
	}
	if ingress.Annotations["team"] != "a" || ingress.Annotations["nginx.ingress.kubernetes.io/ssl-passthrough"] != "true" {
		t.Errorf("its annotations are %v", ingress.Annotations)
	}
	isExposed(t, rendered)
}

// TestTLSRoute renders the way to the virtual API through a Gateway.
func TestTLSRoute(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), `
controlPlane: {tlsRoute: {enabled: true, host: shop.example.com, parentRefs: [{name: edge, namespace: gateways, sectionName: tls}]}}
`)
	route := object[*unstructured.Unstructured](t, rendered, "shop")
	want := map[string]any{
		"hostnames":  []any{"shop.example.com"},
		"parentRefs": []any{map[string]any{"name": "edge", "namespace": "gateways", "sectionName": "tls"}},
		"rules":      []any{map[string]any{"backendRefs": []any{map[string]any{"name": "shop", "port": int64(443)}}}},
	}
	if diff := cmp.Diff(want, route.Object["spec"]); diff != "" || route.GetKind() != "TLSRoute" {
		t.Errorf("the %s (-want +got):\n%s", route.GetKind(), diff)
	}
	isExposed(t, rendered)
}

// isExposed checks that clients outside of the host cluster reach the virtual API, and are told how.
func isExposed(t *testing.T, rendered rendering) {
	t.Helper()
	policy := object[*networkingv1.NetworkPolicy](t, rendered, "shop-control-plane")
	if from := policy.Spec.Ingress[0].From; len(from) != 0 {
		t.Errorf("the network policy lets only %v reach the virtual API", from)
	}
	if notes := rendered.text["sublet/templates/NOTES.txt"]; !strings.Contains(notes, "https://shop.example.com") {
		t.Errorf("the notes do not lead to the virtual API:\n%s", notes)
	}
}

func TestNodePort(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), "controlPlane: {service: {httpsNodePort: 32000, spec: {type: NodePort}}}")
	if port := object[*corev1.Service](t, rendered, "shop").Spec.Ports[0]; port.NodePort != 32000 {
		t.Errorf("the port of the nodes is %d", port.NodePort)
	}
	if notes := rendered.text["sublet/templates/NOTES.txt"]; !strings.Contains(notes, "leads to the address of the Service shop") || strings.Contains(notes, "--server") {
		t.Errorf("the notes do not lead to the virtual API:\n%s", notes)
	}
}
