package admission

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// ingressSettings returns settings that sync Ingresses with two names, and classes by request.
func ingressSettings(showsClasses bool) *v1alpha1.Config {
	settings := v1alpha1.Default(
		v1alpha1.Kind{Setting: "sync.toHost.ingresses", Enabled: true},
		v1alpha1.Kind{Setting: "sync.fromHost.ingressClasses", Enabled: showsClasses},
	)
	settings.Policies.Ingresses.Hosts = []string{"shop.example.com", "*.shop.example.com"}
	settings.Policies.Ingresses.Classes = []string{"public"}
	settings.Policies.Ingresses.Annotations = map[string]string{"nginx.ingress.kubernetes.io/*": "", "example.com/size": "small|large", "haproxy.org/server-alias": ".*[.]shop[.]example[.]com"}
	return settings
}

// newIngress returns an Ingress of a class, empty for none, with a host name.
func newIngress(class, host string, changes ...func(*networkingv1.Ingress)) *networkingv1.Ingress {
	made := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{}}}
	if class != "" {
		made.Spec.IngressClassName = &class
	}
	made.Spec.Rules = []networkingv1.IngressRule{{Host: host}}
	for _, change := range changes {
		change(made)
	}
	return made
}

func TestIngresses(t *testing.T) {
	t.Parallel()
	annotated := func(key, value string) func(*networkingv1.Ingress) {
		return func(i *networkingv1.Ingress) { i.Annotations[key] = value }
	}
	path := func(text string) func(*networkingv1.Ingress) {
		return func(i *networkingv1.Ingress) {
			i.Spec.Rules[0].HTTP = &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: text}}}
		}
	}
	view := fakeView{ingressClasses: []string{"shown"}}
	const own = "no controller of the host serves this class"
	for name, c := range map[string]struct {
		reason  string
		shows   bool
		view    HostView
		old     *networkingv1.Ingress
		object  *networkingv1.Ingress
		denied  string // a part of the message; empty for none
		warning string
	}{
		"Allowed":       {reason: "a name on the list", object: newIngress("public", "shop.example.com")},
		"Below":         {reason: "a name below one on the list", object: newIngress("public", "a.b.shop.example.com")},
		"Wildcard":      {reason: "the wildcard itself", object: newIngress("public", "*.shop.example.com")},
		"Foreign":       {reason: "a name of somebody else", object: newIngress("public", "bank.example.com"), denied: "policies.ingresses.hosts"},
		"Suffix":        {reason: "a name that only ends alike", object: newIngress("public", "evilshop.example.com"), denied: `"evilshop.example.com"`},
		"WiderWildcard": {reason: "a wildcard over names of others", object: newIngress("public", "*.example.com"), denied: "spec.rules[0].host"},
		"NoName":        {reason: "no name draws all traffic", object: newIngress("public", ""), denied: "all host names"},
		"TLS": {reason: "a certificate for a name is a claim to it", object: newIngress("public", "shop.example.com", func(i *networkingv1.Ingress) {
			i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{"bank.example.com"}}}
		}), denied: "spec.tls[0].hosts[0]"},
		"Default": {reason: "a default backend draws all traffic", object: newIngress("public", "shop.example.com", func(i *networkingv1.Ingress) {
			i.Spec.DefaultBackend = &networkingv1.IngressBackend{}
		}), denied: "spec.defaultBackend"},
		"Resource": {reason: "only Services have copies", object: newIngress("public", "shop.example.com", func(i *networkingv1.Ingress) {
			i.Spec.Rules[0].HTTP = &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{}}}
			i.Spec.Rules[0].HTTP.Paths[0].Backend.Resource = &corev1.TypedLocalObjectReference{Kind: "Bucket", Name: "pages"}
		}), denied: "spec.rules[0].http.paths[0].backend.resource"},
		"StoredName": {
			reason: "a name that was taken from the tenant is denied at the next change",
			old:    newIngress("public", "bank.example.com"), object: newIngress("public", "bank.example.com"), denied: "policies.ingresses.hosts",
		},
		"OwnClass":     {reason: "a controller of the tenant serves any name", object: newIngress("mine", "bank.example.com"), warning: own},
		"OwnClassSeen": {reason: "once is enough", old: newIngress("mine", "a"), object: newIngress("mine", "bank.example.com")},
		"NoClass":      {reason: "the default of the host serves it", object: newIngress("", "bank.example.com"), denied: "policies.ingresses.hosts"},
		"NoShownClass": {reason: "without a class that the tenant sees, no controller of the host serves it", shows: true, object: newIngress("", "bank.example.com"), warning: own},
		"Shown":        {reason: "a class that the tenant sees is the host's", shows: true, object: newIngress("shown", "bank.example.com"), denied: "policies.ingresses.hosts"},
		"Hidden":       {reason: "any other is not", shows: true, object: newIngress("hidden", "bank.example.com"), warning: own},
		"OldClass":     {reason: "the older annotation names the class too", object: newIngress("", "bank.example.com", annotated("kubernetes.io/ingress.class", "public")), denied: "policies.ingresses.hosts"},
		"Unknown":      {reason: "nothing is accepted while the host is unknown", shows: true, view: fakeView{err: errors.New("no cache")}, object: newIngress("shown", "shop.example.com"), denied: "Try again"},
		"Snippet": {
			reason: "snippets are code in the controller, whatever the setting",
			object: newIngress("public", "shop.example.com", annotated("nginx.ingress.kubernetes.io/configuration-snippet", "x")), warning: "configuration-snippet has no effect",
		},
		"Alias": {
			reason: "a prefix lets no further host names pass",
			object: newIngress("public", "shop.example.com", annotated("nginx.ingress.kubernetes.io/server-alias", "bank.example.com")), warning: "server-alias has no effect",
		},
		"Secret": {
			reason: "a prefix lets no names of objects pass, which would be those of the release",
			object: newIngress("public", "shop.example.com", annotated("nginx.ingress.kubernetes.io/proxy-ssl-secret", "tenant-shop/shop-certs")), warning: "proxy-ssl-secret has no effect",
		},
		"Path": {reason: "a path is a path", object: newIngress("public", "shop.example.com", path(`/shop(/|$)(.*)+[a-z]?%7B~$/*:@!,=&`))},
		"PathCode": {
			reason: "a path that ends the statement of a controller",
			object: newIngress("public", "shop.example.com", path(`/" { return 200; } location /x`)), denied: "spec.rules[0].http.paths[0].path",
		},
		"PathLines":  {reason: "the same by a line break", object: newIngress("public", "shop.example.com", path("/a\nlocation /b")), denied: "encode them"},
		"AliasByKey": {reason: "the operator has written its key, and which names it may have", object: newIngress("public", "shop.example.com", annotated("haproxy.org/server-alias", "a.shop.example.com"))},
		"AliasOther": {reason: "any other name", object: newIngress("public", "shop.example.com", annotated("haproxy.org/server-alias", "bank.example.com")), denied: "must match", warning: "has no effect"},
		"Value":      {reason: "the value of an annotation that passes", object: newIngress("public", "shop.example.com", annotated("example.com/size", "huge")), denied: "must match small|large"},
		"StoredValue": {
			reason: "a value that the host has already is older than its rule", old: newIngress("public", "shop.example.com", annotated("example.com/size", "huge")),
			object: newIngress("public", "shop.example.com", annotated("example.com/size", "huge")),
		},
		"StoredForOwn": {
			reason: "nobody has checked the annotations of an Ingress that had no copy", old: newIngress("mine", "shop.example.com", annotated("example.com/size", "huge")),
			object: newIngress("public", "shop.example.com", annotated("example.com/size", "huge")), denied: "must match small|large",
		},
		"StoredWithoutClass": {
			reason: "the same without a class, where the tenant sees classes", shows: true, old: newIngress("", "shop.example.com", annotated("example.com/size", "huge")),
			object: newIngress("shown", "shop.example.com", annotated("example.com/size", "huge")), denied: "must match small|large",
		},
		"WarnedForOwn": {
			reason: "nor has anybody warned of them", old: newIngress("mine", "shop.example.com", annotated("traefik.ingress.kubernetes.io/router.tls", "true")),
			object: newIngress("public", "shop.example.com", annotated("traefik.ingress.kubernetes.io/router.tls", "true")), warning: "policies.ingresses.annotations",
		},
		"OtherHostClass": {
			reason: "an Ingress of another class of the host has a copy already", shows: true, old: newIngress("shown", "shop.example.com", annotated("example.com/size", "huge")),
			object: newIngress("public", "shop.example.com", annotated("example.com/size", "huge")),
		},
		"Annotation": {reason: "an annotation that stays behind", object: newIngress("public", "shop.example.com", annotated("traefik.ingress.kubernetes.io/router.tls", "true")), warning: "policies.ingresses.annotations"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := c.view
			if host == nil {
				host = view
			}
			operation := admission.Create
			if c.old != nil {
				operation = admission.Update
			}
			check := PolicyChecks(ingressSettings(c.shows), host)[networkingv1.Resource("ingresses")]
			var old runtime.Object
			if c.old != nil {
				old = c.old
			}
			a := admission.NewAttributesRecord(c.object, old, schema.GroupVersionKind{Kind: "Ingress"}, "shop", "web",
				networkingv1.SchemeGroupVersion.WithResource("ingresses"), "", operation, nil, false, nil)
			got, err := check(t.Context(), a, nil)
			var text strings.Builder
			if err != nil {
				text.WriteString(err.Error())
			}
			for _, violation := range got.Violations {
				text.WriteString(violation.String() + " " + violation.Setting)
			}
			if c.denied == "" && text.Len() > 0 || !strings.Contains(text.String(), c.denied) {
				t.Errorf("%s: denied %q, want %q", c.reason, text.String(), c.denied)
			}
			warnings := strings.Join(got.Warnings, "\n")
			if c.warning == "" && warnings != "" || !strings.Contains(warnings, c.warning) {
				t.Errorf("%s: warned %q, want %q", c.reason, warnings, c.warning)
			}
		})
	}
}
