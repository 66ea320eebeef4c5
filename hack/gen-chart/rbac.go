package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
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
func rows() ([]row, error) {
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
		when, err := condition(kind)
		if err != nil {
			return nil, err
		}
		all = append(all, row{name: kind.Name, when: when, namespaced: kind.Rules, cluster: kind.ClusterRules})
	}
	return all, nil
}

// condition is when a kind is on, as a condition for the templates: what the
// kind itself says under its setting and without it.
func condition(kind kinds.Row) (string, error) {
	if kind.Key == "" {
		return "", nil
	}
	on, err := with(kind.Key, true)
	if err != nil {
		return "", fmt.Errorf("kind %s: %w", kind.Name, err)
	}
	off, err := with(kind.Key, false)
	if err != nil {
		return "", fmt.Errorf("kind %s: %w", kind.Name, err)
	}
	switch {
	case kind.Enabled(on.Sync) && kind.Enabled(off.Sync):
		return "", nil
	case kind.Enabled(on.Sync):
		return ".Values." + kind.Key, nil
	case kind.Enabled(off.Sync):
		return "not .Values." + kind.Key, nil
	}
	return "", fmt.Errorf("kind %s: neither on with %s nor without", kind.Name, kind.Key)
}

// with is the default configuration with a bool set.
func with(path string, value bool) (*v1alpha1.Config, error) {
	var tree any = value
	keys := strings.Split(path, ".")
	for i := len(keys) - 1; i >= 0; i-- {
		tree = map[string]any{keys[i]: tree}
	}
	data, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s: %w", path, err)
	}
	config := v1alpha1.Default()
	if err := yaml.UnmarshalStrict(data, config); err != nil {
		return nil, fmt.Errorf("%s is no setting: %w", path, err)
	}
	return config, nil
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
