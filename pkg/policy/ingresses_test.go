package policy

import (
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// TestIngressAnnotations checks which annotations a prefix opens. What leads a controller elsewhere
// needs its whole key, and snippets never pass.
func TestIngressAnnotations(t *testing.T) {
	t.Parallel()
	settings := v1alpha1.Default()
	settings.Policies.Ingresses.Annotations = map[string]string{
		"nginx.ingress.kubernetes.io/*": "", "traefik.ingress.kubernetes.io/*": "", "alb.ingress.kubernetes.io/*": "", "haproxy.org/*": "",
		"konghq.com/*": "", "cert-manager.io/*": "",
	}
	open := NewIngresses(settings)
	named := v1alpha1.Default()
	for reason, keys := range map[string][]string{
		"requests to an address that the tenant picks": {
			"nginx.ingress.kubernetes.io/auth-url", "nginx.ingress.kubernetes.io/auth-signin", "nginx.ingress.kubernetes.io/mirror-target",
			"haproxy.org/auth-url", "alb.ingress.kubernetes.io/actions.forward", "alb.ingress.kubernetes.io/auth-idp-oidc",
		},
		"objects of the host's namespace": {
			"nginx.ingress.kubernetes.io/default-backend", "nginx.ingress.kubernetes.io/custom-headers", "nginx.ingress.kubernetes.io/auth-proxy-set-headers",
			"nginx.ingress.kubernetes.io/auth-secret", "nginx.ingress.kubernetes.io/fastcgi-params-configmap",
			"traefik.ingress.kubernetes.io/router.tls.options", "traefik.ingress.kubernetes.io/service.serverstransport",
			"traefik.ingress.kubernetes.io/router.middlewares", "haproxy.org/cr-backend", "haproxy.org/server-crt", "konghq.com/plugins", "cert-manager.io/issuer",
		},
		"settings that others share": {"alb.ingress.kubernetes.io/group.name"},
		"further host names":         {"nginx.ingress.kubernetes.io/server-alias"},
	} {
		for _, key := range keys {
			if open.PassesAnnotation(key, "x") {
				t.Errorf("%s passes by a prefix: %s", key, reason)
			}
			named.Policies.Ingresses.Annotations = map[string]string{key: ""}
			if !NewIngresses(named).PassesAnnotation(key, "x") {
				t.Errorf("%s does not pass although the operator names it", key)
			}
		}
	}
	for _, key := range []string{
		"nginx.ingress.kubernetes.io/backend-protocol", "nginx.ingress.kubernetes.io/cors-allow-headers", "nginx.ingress.kubernetes.io/proxy-body-size",
		"nginx.ingress.kubernetes.io/auth-response-headers", "nginx.ingress.kubernetes.io/ssl-redirect", "nginx.ingress.kubernetes.io/rewrite-target",
		"traefik.ingress.kubernetes.io/router.entrypoints", "alb.ingress.kubernetes.io/scheme", "alb.ingress.kubernetes.io/target-type",
		"cert-manager.io/cluster-issuer", "haproxy.org/timeout-server",
	} {
		if !open.PassesAnnotation(key, "x") {
			t.Errorf("%s does not pass, and leads nowhere else", key)
		}
	}
	settings.Policies.Ingresses.Annotations["nginx.ingress.kubernetes.io/server-snippet"] = ""
	if NewIngresses(settings).PassesAnnotation("nginx.ingress.kubernetes.io/server-snippet", "x") {
		t.Error("a snippet passes")
	}
}

// TestIngressGuards denies an Ingress that the host would serve without its protection. Before, a
// prefix let such an annotation pass.
func TestIngressGuards(t *testing.T) {
	t.Parallel()
	const url = "nginx.ingress.kubernetes.io/auth-url"
	of := func(key string) *networkingv1.Ingress {
		return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{key: "https://login.example.com"}}}
	}
	for _, c := range []struct {
		reason, rule string
		old, ingress *networkingv1.Ingress
		isDenied     bool
	}{
		{"a prefix no longer lets the protection pass", "nginx.ingress.kubernetes.io/*", nil, of(url), true},
		{"the whole key does", url, nil, of(url), false},
		{"without a rule it has never passed, and a warning tells so", "haproxy.org/*", nil, of(url), false},
		{"what is stored can be changed elsewhere", "nginx.ingress.kubernetes.io/*", of(url), of(url), false},
		{"what protects nothing stays behind", "nginx.ingress.kubernetes.io/*", nil, of("nginx.ingress.kubernetes.io/mirror-target"), false},
		{"plugins may protect", "konghq.com/*", nil, of("konghq.com/plugins"), true},
	} {
		settings := v1alpha1.Default()
		settings.Policies.Ingresses.Annotations = map[string]string{c.rule: ""}
		got := ShortMessage(NewIngresses(settings).Check(c.old, c.ingress))
		if c.isDenied != strings.Contains(got, "without this protection, as "+c.rule) || c.isDenied != (got != "") {
			t.Errorf("%s: got %q", c.reason, got)
		}
	}
}
