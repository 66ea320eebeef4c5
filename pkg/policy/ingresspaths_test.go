package policy

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

// TestIngressPaths checks that no path ends a statement in the configuration of a controller.
func TestIngressPaths(t *testing.T) {
	t.Parallel()
	for path, denied := range map[string]bool{"/a b": true, `/a\`: true, "/a;": true, "/a\nb": true, `/a\.b`: false, "/a": false} {
		ingress := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: path}}}},
		}}}}
		if got := len(checkPaths(ingress)) > 0; got != denied {
			t.Errorf("%q: denied: %t, want %t", path, got, denied)
		}
	}
}
