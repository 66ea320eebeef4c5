package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// row is what the chart needs to know of a part of the server: which rights it
// takes on the host, and when.
type row struct {
	name       string
	when       string              // condition in the language of the templates; empty means always
	namespaced []rbacv1.PolicyRule // rights in the namespace of the release
	cluster    []rbacv1.PolicyRule // rights in the whole host
}

// rows are the rights of the server itself, then those of each kind.
func rows() []row {
	all := []row{
		{name: "the server: what it has to know of its release, its certificates and the tenant's kubeconfig", namespaced: []rbacv1.PolicyRule{
			named("", "get,patch", "configmaps", "-anchor"),
			named("", "get", "services", "", "-dns"),
			rule("", "create", "secrets"),
			named("", "get,update", "secrets", "-certs", "-kubeconfig"),
		}},
		{name: "the node proxy: SPDY asks with POST, WebSocket with GET", namespaced: []rbacv1.PolicyRule{
			rule("", "get", "pods/log"),
			rule("", "create,get", "pods/attach", "pods/exec", "pods/portforward"),
		}},
	}
	for _, kind := range kinds.Table() {
		all = append(all, row{name: kind.Name, when: condition(kind), namespaced: kind.Rules, cluster: kind.ClusterRules})
	}
	return all
}

// condition is when a kind is on, as a condition for the templates.
func condition(kind kinds.Row) string {
	switch {
	case kind.Key == "":
		return ""
	case kind.KeyOff:
		return "not .Values." + kind.Key
	}
	return ".Values." + kind.Key
}

// rule is a right to resources of one API group.
func rule(group, verbs string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: strings.Split(verbs, ",")}
}

// named is a right to objects that are called as the release, with suffixes.
func named(group, verbs, resource string, suffixes ...string) rbacv1.PolicyRule {
	r := rule(group, verbs, resource)
	for _, suffix := range suffixes {
		r.ResourceNames = append(r.ResourceNames, "{{ $.Release.Name }}"+suffix)
	}
	return r
}

// rbacTemplate is chart/templates/_rbac.tpl.
func rbacTemplate(rows []row) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "{{- /* %s */ -}}\n", generated)
	scopes := []struct {
		define, doc string
		rules       func(row) []rbacv1.PolicyRule
	}{
		{"sublet.rules", "Rights in the namespace of the release.", func(r row) []rbacv1.PolicyRule { return r.namespaced }},
		{"sublet.clusterRules", "Rights in the whole host, only for settings that need them.", func(r row) []rbacv1.PolicyRule { return r.cluster }},
	}
	for _, scope := range scopes {
		fmt.Fprintf(&out, "\n{{- /* %s */ -}}\n{{- define %q -}}\n", scope.doc, scope.define)
		for _, r := range rows {
			if err := writeRow(&out, r, scope.rules(r)); err != nil {
				return nil, err
			}
		}
		out.WriteString("{{- end -}}\n")
	}
	return out.Bytes(), nil
}

// writeRow writes the rules of a row, inside of its condition.
func writeRow(out *bytes.Buffer, r row, rules []rbacv1.PolicyRule) error {
	if len(rules) == 0 {
		return nil
	}
	if r.when != "" {
		fmt.Fprintf(out, "{{- if %s }}\n", r.when)
	}
	fmt.Fprintf(out, "# %s\n", r.name)
	for _, rule := range rules {
		text, err := ruleText(rule)
		if err != nil {
			return fmt.Errorf("cannot encode the rules of %s: %w", r.name, err)
		}
		out.WriteString(text)
	}
	if r.when != "" {
		out.WriteString("{{- end }}\n")
	}
	return nil
}

// ruleText is a rule with each of its lists on one line.
func ruleText(rule rbacv1.PolicyRule) (string, error) {
	var out strings.Builder
	lists := []struct {
		key    string
		values []string
	}{
		{"apiGroups", rule.APIGroups}, {"resources", rule.Resources},
		{"resourceNames", rule.ResourceNames}, {"verbs", rule.Verbs},
	}
	bullet := "- "
	for _, list := range lists {
		if len(list.values) == 0 {
			continue
		}
		quoted := make([]string, 0, len(list.values))
		for _, value := range list.values {
			text, err := json.Marshal(value)
			if err != nil {
				return "", err
			}
			quoted = append(quoted, string(text))
		}
		fmt.Fprintf(&out, "%s%s: [%s]\n", bullet, list.key, strings.Join(quoted, ", "))
		bullet = "  "
	}
	return out.String(), nil
}
