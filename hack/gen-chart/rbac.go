package main

import (
	"bytes"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// row is what the chart needs to know of a synced kind: which rights it takes on
// the host, and which setting switches it.
type row struct {
	// name is what the comment in the template says.
	name string
	// toggle is the path of a bool in the values. Empty means always.
	toggle string
	// namespaced are rights in the namespace of the release.
	namespaced []rbacv1.PolicyRule
	// cluster are rights in the whole host.
	cluster []rbacv1.PolicyRule
}

// rows are the rights of the server itself, then those of each kind.
func rows() []row {
	return append([]row{{
		name: "the server itself: its anchor, its Services, its certificates and the tenant's kubeconfig",
		namespaced: []rbacv1.PolicyRule{
			named(rule("", "get,list,watch,patch", "configmaps"), "-anchor"),
			named(rule("", "get,list,watch", "services"), "", "-dns"),
			rule("", "create", "secrets"),
			named(rule("", "get,list,watch,update,patch", "secrets"), "-certs", "-kubeconfig"),
		},
	}}, kinds()...)
}

// kinds are the synced kinds.
func kinds() []row {
	const read, write = "get,list,watch", "get,list,watch,create,update,patch,delete"
	return []row{
		{name: "pods, with the Secrets of their tokens", namespaced: []rbacv1.PolicyRule{
			rule("", write, "pods"),
			rule("", "get", "pods/log"),
			rule("", "create,get", "pods/exec", "pods/attach", "pods/portforward"),
			rule("", "patch,update", "pods/ephemeralcontainers", "pods/resize"),
			rule("", write, "secrets"),
		}},
		{name: "services", toggle: "sync.toHost.services.enabled", namespaced: []rbacv1.PolicyRule{
			rule("", write, "services"),
		}},
		{name: "endpointslices", toggle: "sync.toHost.endpointSlices.enabled", namespaced: []rbacv1.PolicyRule{
			rule("discovery.k8s.io", write, "endpointslices"),
		}},
		{name: "configmaps", toggle: "sync.toHost.configMaps.enabled", namespaced: []rbacv1.PolicyRule{
			rule("", write, "configmaps"),
		}},
		{name: "secrets", toggle: "sync.toHost.secrets.enabled", namespaced: []rbacv1.PolicyRule{
			rule("", write, "secrets"),
		}},
		{name: "persistentvolumeclaims", toggle: "sync.toHost.persistentVolumeClaims.enabled", namespaced: []rbacv1.PolicyRule{
			rule("", write, "persistentvolumeclaims"),
		}},
		{name: "events", toggle: "sync.fromHost.events.enabled", namespaced: []rbacv1.PolicyRule{
			rule("", read, "events"),
		}},
		{name: "nodes", toggle: "sync.fromHost.nodes.enabled", cluster: []rbacv1.PolicyRule{
			rule("", read, "nodes"),
		}},
		{name: "storageclasses", toggle: "sync.fromHost.storageClasses.enabled", cluster: []rbacv1.PolicyRule{
			rule("storage.k8s.io", read, "storageclasses"),
		}},
	}
}

// rule is a rule for resources of one API group.
func rule(group, verbs string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: strings.Split(verbs, ",")}
}

// named confines a rule to objects that are called as the release, with suffixes.
func named(r rbacv1.PolicyRule, suffixes ...string) rbacv1.PolicyRule {
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

// writeRow writes the rules of a row, inside of a condition if it has a toggle.
func writeRow(out *bytes.Buffer, r row, rules []rbacv1.PolicyRule) error {
	if len(rules) == 0 {
		return nil
	}
	text, err := yaml.Marshal(rules)
	if err != nil {
		return fmt.Errorf("cannot encode the rules of %s: %w", r.name, err)
	}
	if r.toggle != "" {
		fmt.Fprintf(out, "{{- if .Values.%s }}\n", r.toggle)
	}
	fmt.Fprintf(out, "# %s\n%s", r.name, text)
	if r.toggle != "" {
		out.WriteString("{{- end }}\n")
	}
	return nil
}
