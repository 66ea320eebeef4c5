package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

const (
	// ingressesSetting is the path of the settings of Ingresses.
	ingressesSetting = "policies.ingresses."
	// classAnnotation is the class of an Ingress before there was a field for it.
	classAnnotation = "kubernetes.io/ingress.class"
)

// Ingresses decides which Ingresses reach the host, and what they may ask of it.
type Ingresses struct {
	settings    v1alpha1.IngressPolicy
	annotations annotationRules
	// ShowsClasses specifies whether the tenant sees classes of the host. Each is allowed.
	ShowsClasses bool
}

// NewIngresses returns the rule for these settings, which must be valid.
func NewIngresses(settings *v1alpha1.Config) *Ingresses {
	return &Ingresses{
		settings:     settings.Policies.Ingresses,
		annotations:  newAnnotationRules(settings.Policies.Ingresses.Annotations, ingressesSetting+"annotations"),
		ShowsClasses: settings.Sync.IsEnabled("sync.fromHost.ingressClasses"),
	}
}

// IngressClass returns the class that an Ingress names, by its field or by the older
// annotation. It returns an empty string for none.
func IngressClass(ingress *networkingv1.Ingress) string {
	if ingress.Spec.IngressClassName != nil {
		return *ingress.Spec.IngressClassName
	}
	return ingress.Annotations[classAnnotation]
}

// HostClass returns the class that an Ingress has on the host. ok is false if it is left to
// a controller in the virtual cluster. shown are the classes of the host that the tenant
// sees.
func (i *Ingresses) HostClass(ingress *networkingv1.Ingress, shown []networkingv1.IngressClass) (class string, ok bool) {
	if class = IngressClass(ingress); class == "" {
		// The virtual API server has filled in the default class, if the tenant sees one.
		return "", !i.ShowsClasses
	}
	return class, slices.Contains(i.settings.Classes, class) ||
		slices.ContainsFunc(shown, func(c networkingv1.IngressClass) bool { return c.Name == class })
}

// Check returns the fields of an Ingress that are not allowed on the host. old is the stored
// state, nil for none: annotations that are stored already stay allowed. Host names do not,
// as the operator may have given one to somebody else.
func (i *Ingresses) Check(old, ingress *networkingv1.Ingress) []Violation {
	if old == nil {
		old = &networkingv1.Ingress{}
	}
	return slices.Concat(i.checkHosts(ingress), checkPaths(ingress), i.checkBackends(ingress), i.checkGuards(old, ingress),
		i.annotations.check(old.Annotations, ingress.Annotations))
}

// checkHosts checks the host names of rules and of TLS.
func (i *Ingresses) checkHosts(ingress *networkingv1.Ingress) []Violation {
	var violations []Violation
	denied := func(field, host string) {
		if i.AllowsHost(host) {
			return
		}
		detail := "this host name is not the tenant's; allowed: " + orNone(i.settings.Hosts)
		if host == "" {
			detail = "it would draw the traffic of all host names; allowed: " + orNone(i.settings.Hosts)
		}
		violations = append(violations, Violation{Field: field, Value: host, Detail: detail, Setting: ingressesSetting + "hosts"})
	}
	for n, rule := range ingress.Spec.Rules {
		denied(at("spec.rules", n)+".host", rule.Host)
	}
	for n, tls := range ingress.Spec.TLS {
		for m, host := range tls.Hosts {
			denied(at(at("spec.tls", n)+".hosts", m), host)
		}
	}
	if ingress.Spec.DefaultBackend != nil {
		denied("spec.defaultBackend", "")
	}
	return violations
}

// AllowsHost reports whether an Ingress may have a host name. Empty means all names.
func (i *Ingresses) AllowsHost(host string) bool {
	return slices.ContainsFunc(i.settings.Hosts, func(pattern string) bool {
		if pattern == "*" || pattern == host {
			return true
		}
		parent, isWildcard := strings.CutPrefix(pattern, "*")
		return isWildcard && strings.HasSuffix(host, parent) && len(host) > len(parent)
	})
}

// checkPaths denies paths with characters that end a text or a statement in the configuration
// of controllers. Some write a path there as it is, so that the rest of it would be code.
func checkPaths(ingress *networkingv1.Ingress) []Violation {
	var violations []Violation
	for n := range ingress.Spec.Rules {
		if ingress.Spec.Rules[n].HTTP == nil {
			continue
		}
		for m, path := range ingress.Spec.Rules[n].HTTP.Paths {
			if endsText(path.Path) {
				violations = append(violations, Violation{
					Field: fmt.Sprintf("spec.rules[%d].http.paths[%d].path", n, m), Value: path.Path,
					Detail: "spaces, quotes, braces, semicolons, #, a backslash at the end and characters that cannot be printed may end up in the configuration of a controller; encode them as %XX",
				})
			}
		}
	}
	return violations
}

// endsText reports whether a path may end a text or a statement in the configuration of a controller. A backslash
// at its end takes the meaning from what follows. Elsewhere it is a part of expressions.
func endsText(path string) bool {
	return strings.HasSuffix(path, `\`) || strings.ContainsFunc(path, func(r rune) bool {
		return !unicode.IsPrint(r) || strings.ContainsRune(" {};\"'`#", r)
	})
}

// checkBackends denies backends that are no Service. Their objects have no copy.
func (i *Ingresses) checkBackends(ingress *networkingv1.Ingress) []Violation {
	var violations []Violation
	check := func(field string, backend *networkingv1.IngressBackend) {
		if backend != nil && backend.Resource != nil {
			violations = append(violations, Violation{
				Field: field + ".resource", Value: backend.Resource.Kind + "/" + backend.Resource.Name,
				Detail: "only Services can be the backend of an Ingress on the host",
			})
		}
	}
	check("spec.defaultBackend", ingress.Spec.DefaultBackend)
	for n := range ingress.Spec.Rules {
		if ingress.Spec.Rules[n].HTTP == nil {
			continue
		}
		for m := range ingress.Spec.Rules[n].HTTP.Paths {
			check(fmt.Sprintf("spec.rules[%d].http.paths[%d].backend", n, m), &ingress.Spec.Rules[n].HTTP.Paths[m].Backend)
		}
	}
	return violations
}

// PassesAnnotation reports whether an annotation of an Ingress is copied to the host. Whoever
// writes configuration of a controller runs code in it, so no setting lets snippets pass.
func (i *Ingresses) PassesAnnotation(key, value string) bool {
	if key == classAnnotation || isSnippet(key) || needsWholeKey(key) && !i.annotations.has(key) {
		return false
	}
	return i.annotations.pass(key, value)
}

// needsWholeKey reports whether an annotation passes only by a rule for its whole key. A rule for a
// prefix is not enough, because such an annotation evades the other rules of Ingresses.
func needsWholeKey(key string) bool {
	return namesHosts(key) || namesObjects(key) || leadsElsewhere(key)
}

// annotationName returns the key of an annotation without its domain, in lower case.
func annotationName(key string) string {
	_, name, _ := strings.Cut(strings.ToLower(key), "/")
	return name
}

// namesHosts reports whether the value of an annotation gives an Ingress host names in addition to
// those of its rules. They are not on the list of allowed names.
func namesHosts(key string) bool {
	name := annotationName(key)
	return strings.Contains(name, "alias") || strings.HasSuffix(name, "hostname") || strings.Contains(name, "-www") ||
		strings.HasPrefix(name, "conditions.")
}

// namesObjects reports whether the value of an annotation is the name of another object. On the
// host, the tenant's objects have other names, so such a value refers to objects of others.
func namesObjects(key string) bool {
	name := annotationName(key)
	return slices.ContainsFunc([]string{"secret", "configmap", "config-map", "middleware"}, func(kind string) bool {
		return strings.Contains(name, kind)
	})
}

// leadsElsewhere reports whether an annotation makes a controller send requests to another place
// than the Services of the rules. The place may be an address inside of the host, or an object
// whose kind the key does not name. With some, Ingresses of several tenants share settings.
func leadsElsewhere(key string) bool {
	name := annotationName(key)
	return slices.ContainsFunc([]string{"mirror-", "actions.", "auth-idp-"}, func(start string) bool { return strings.HasPrefix(name, start) }) ||
		slices.ContainsFunc([]string{".options", "transport", "auth-url", "auth-signin", "-backend", "custom-headers", "set-headers"},
			func(end string) bool { return strings.HasSuffix(name, end) }) ||
		slices.Contains([]string{
			"group.name", "plugins", "policies", "override", "upstream-policy", "issuer", "jwt-key", "server-ca", "server-crt", "client-cert",
		}, name)
}

// isSnippet reports whether controllers copy the value of an annotation into their
// configuration as it is.
func isSnippet(key string) bool {
	name := annotationName(key)
	return strings.Contains(name, "snippet") || strings.Contains(name, "template") || strings.Contains(name, "lua") ||
		strings.HasPrefix(name, "config-")
}

// Warnings returns a text for each new annotation that stays behind, as controllers of the
// host read most of those of an Ingress.
func (i *Ingresses) Warnings(old, ingress *networkingv1.Ingress) []string {
	var warnings []string
	for _, key := range slices.Sorted(maps.Keys(ingress.Annotations)) {
		value := ingress.Annotations[key]
		if old != nil && old.Annotations[key] == value || !isForIngress(key) || i.PassesAnnotation(key, value) {
			continue
		}
		text := fmt.Sprintf("annotation %s has no effect: it is not copied to the host, whose controllers would read it.", key)
		if !isSnippet(key) {
			text += " The operator of the host can change this with " + ingressesSetting + "annotations."
		}
		warnings = append(warnings, text)
	}
	return warnings
}

// isForIngress reports whether an annotation is one of those that controllers of Ingresses
// read.
func isForIngress(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	return key != classAnnotation && (isForHost(key) || strings.Contains(domain, "ingress") || domain == "nginx.org" ||
		domain == "haproxy.org" || domain == "cert-manager.io" || domain == "acme.cert-manager.io")
}
