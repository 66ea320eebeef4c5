package custom

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

const widgets = "widgets.example.com"

// host returns the host name of an object of the namespace web, in the scheme of a resource.
func host(resource, name string) string {
	scheme := translate.Scheme(translate.Hashed)
	if resource == secrets || resource == configMaps {
		scheme = translate.Derived(Role(widgets))
	}
	return scheme(cluster(), types.NamespacedName{Namespace: "web", Name: name}).Name
}

// TestToHost looks at what reaches the host of each field.
func TestToHost(t *testing.T) {
	t.Parallel()
	optional := v1alpha1.Reference{Path: "spec.selector", To: v1alpha1.ToLabelSelector, Optional: true}
	for _, c := range []struct {
		reason     string
		references []v1alpha1.Reference
		object     string
		want       map[string]any // of spec
	}{
		{"plain fields pass", nil, `{size: 1, color: red, gateways: [a/b]}`, map[string]any{"size": int64(1), "color": "red", "gateways": []any{"a/b"}}},
		{"the name of a Secret", nil, `{secretName: a, secretKey: k}`, map[string]any{"secretName": host(secrets, "a"), "secretKey": "k"}},
		{"a list of names", nil, `{configMapNames: [a, b]}`, map[string]any{"configMapNames": []any{host(configMaps, "a"), host(configMaps, "b")}}},
		{
			"a reference with its own namespace", nil, `{tlsSecretRef: {name: a, key: k, namespace: web}}`,
			map[string]any{"tlsSecretRef": map[string]any{"name": host(secrets, "a"), "key": "k", "namespace": "tenant"}},
		},
		{"the comment of a key tells its kind", nil, `{username: {name: a, key: k}}`, map[string]any{"username": map[string]any{"name": host(secrets, "a"), "key": "k"}}},
		{"a ConfigMap", nil, `{configMapKeyRef: {name: a, key: k}}`, map[string]any{"configMapKeyRef": map[string]any{"name": host(configMaps, "a"), "key": "k"}}},
		{
			"objects that other kinds copy", nil, `{serviceAccountName: a, claimName: b, backendService: {name: c, port: 1}}`,
			map[string]any{
				"serviceAccountName": host(accounts, "a"), "claimName": host(claims, "b"),
				"backendService": map[string]any{"name": host(services, "c"), "port": int64(1)},
			},
		},
		{
			"what is next to a name", nil, `{database: {service: {name: a, podNamespace: web, tls: {secretName: b}}}}`,
			map[string]any{"database": map[string]any{"service": map[string]any{
				"name": host(services, "a"), "podNamespace": "tenant", "tls": map[string]any{"secretName": host(secrets, "b")},
			}}},
		},
		{"empty names stay", nil, `{secretName: "", namespace: ""}`, map[string]any{"secretName": "", "namespace": ""}},
		{"namespaces", nil, `{namespace: web, targetNamespaces: [web]}`, map[string]any{"namespace": "tenant", "targetNamespaces": []any{"tenant"}}},
		{
			"inside of lists and maps", nil, `{tls: [{hosts: [x], secretName: a}, {secretName: b}], byName: {one: {secretName: c}}}`,
			map[string]any{
				"tls": []any{
					map[string]any{"hosts": []any{"x"}, "secretName": host(secrets, "a")}, map[string]any{"secretName": host(secrets, "b")},
				},
				"byName": map[string]any{"one": map[string]any{"secretName": host(secrets, "c")}},
			},
		},
		{
			"references by a key", nil, `{envSecretRefs: {TOKEN: {name: a, key: k}}, secretPorts: {web: 1}}`,
			map[string]any{
				"envSecretRefs": map[string]any{"TOKEN": map[string]any{"name": host(secrets, "a"), "key": "k"}},
				"secretPorts":   map[string]any{"web": int64(1)},
			},
		},
		{"keys that are no names", []v1alpha1.Reference{{Path: "spec.secrets", To: v1alpha1.ToNone}}, `{secrets: {a: {mode: 1}}}`, map[string]any{"secrets": map[string]any{"a": map[string]any{"mode": int64(1)}}}},
		{
			"a rule of the operator", []v1alpha1.Reference{{Path: "spec.issuerRef.name", To: "issuers.example.com"}, {Path: "spec.gateways", To: "services"}},
			`{issuerRef: {name: a, kind: Issuer}, gateways: [g]}`,
			map[string]any{"issuerRef": map[string]any{"name": host(services, "a"), "kind": "Issuer"}, "gateways": []any{host(services, "g")}},
		},
		{
			"a map of labels", []v1alpha1.Reference{{Path: "spec.nodeSelector", To: v1alpha1.ToLabels}}, `{nodeSelector: {app: a}}`,
			map[string]any{"nodeSelector": map[string]any{labels.Cluster: "uid", labels.Namespace: "web", translate.TenantLabel("app"): "a"}},
		},
		{"no reference", []v1alpha1.Reference{{Path: "spec.textSelector", To: v1alpha1.ToNone}}, `{textSelector: "a == b"}`, map[string]any{"textSelector": "a == b"}},
	} {
		references := append([]v1alpha1.Reference{optional}, c.references...)
		if slices.ContainsFunc(c.references, func(r v1alpha1.Reference) bool { return r.To == v1alpha1.ToLabels }) {
			references[1].Optional = true
		}
		plan := compile(t, false, references...)
		object := objectOf(t, "spec: "+c.object)
		before := runtime.DeepCopyJSON(object)
		if problems := plan.Check(object, "web"); len(problems) > 0 {
			t.Errorf("%s: denied: %v", c.reason, problems)
			continue
		}
		if diff := cmp.Diff(before, object); diff != "" {
			t.Errorf("%s: Check changes the object (-before +after):\n%s", c.reason, diff)
		}
		plan.ToHost(object, "web", cluster(), widgets)
		if diff := cmp.Diff(map[string]any{"spec": c.want}, object); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

// TestSelector confines a selector to the virtual namespace.
func TestSelector(t *testing.T) {
	t.Parallel()
	for reason, text := range map[string]string{
		"labels and expressions": `{matchLabels: {app: a}, matchExpressions: [{key: tier, operator: In, values: [x]}]}`,
		"an empty one":           `{}`,
		"a key of ours":          `{matchLabels: {sublet.dev/cluster: other}}`,
	} {
		plan := compile(t, false)
		object := objectOf(t, "spec: {selector: "+text+"}")
		if problems := plan.Check(object, "web"); len(problems) > 0 {
			t.Errorf("%s: denied: %v", reason, problems)
		}
		plan.ToHost(object, "web", cluster(), widgets)
		selector, _ := object["spec"].(map[string]any)["selector"].(map[string]any)
		own, _ := selector["matchLabels"].(map[string]any)
		if own[labels.Cluster] != "uid" || own["app"] != nil || own["sublet.dev/cluster"] != "uid" {
			t.Errorf("%s: it selects by %v", reason, own)
		}
		expressions, _ := selector["matchExpressions"].([]any)
		last, _ := expressions[len(expressions)-1].(map[string]any)
		if last["key"] != labels.Namespace || !slices.Equal(last["values"].([]any), []any{"web"}) {
			t.Errorf("%s: it is not confined to the namespace: %v", reason, expressions)
		}
	}
}

// TestCheck denies what may refer to what is not the tenant's.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, object, path, detail string
		trusted                      bool // whether a trusted kind passes it
	}{
		{"another namespace", `{namespace: other}`, "spec.namespace", "must be web or empty", false},
		{"another namespace in a list", `{targetNamespaces: [web, other]}`, "spec.targetNamespaces[1]", "must be web or empty", false},
		{"a Secret of another namespace", `{tlsSecretRef: {name: a, namespace: kube-system}}`, "spec.tlsSecretRef.namespace", "must be web or empty", false},
		{"an object of any kind", `{issuerRef: {name: a, kind: Issuer}}`, "spec.issuerRef", "any kind", true},
		{"a reference of an unknown kind", `{ownerRef: {name: a}}`, "spec.ownerRef", "looks like a reference", true},
		{"a namespace next to a name", `{database: {service: {name: a, podNamespace: other}}}`, "spec.database.service.podNamespace", "must be web or empty", false},
		{"a reference next to a name", `{database: {service: {name: a, peerRef: {name: b}}}}`, "spec.database.service.peerRef", "looks like a reference", true},
		{"a selector as text", `{textSelector: "app == 'a'"}`, "spec.textSelector", "looks like a selector", true},
		{"a selector of namespaces", `{namespaceSelector: {any: true}}`, "spec.namespaceSelector", "looks like a selector", true},
		{"an empty selector selects all", `{namespaceSelector: {}}`, "spec.namespaceSelector", "looks like a selector", true},
		{"a map of labels", `{nodeSelector: {a: b}}`, "spec.nodeSelector", "looks like a selector", true},
		{"a word before namespace", `{watchNamespaceOf: a}`, "spec.watchNamespaceOf", "name of a namespace", true},
		{"pods", `{template: {spec: {containers: [{name: a}]}}}`, "spec.template.spec", "template of pods", true},
		{"any content", `{anything: {secretRef: {name: a}}}`, "spec.anything", "allows anything", true},
		{"any values", `{free: {a: b}}`, "spec.free", "allows anything", true},
		{"names as keys of a map", `{secrets: {stolen: {mode: 1}}}`, "spec.secrets", "keys look like names", true},
		{"a name as a key without a value", `{peerRefs: {stolen: ""}}`, "spec.peerRefs", "keys look like names", true},
		{"a name that is no text", `{secretName: {a: b}}`, "spec.secretName", "must be a name", false},
		{"another form than the schema's", `{tls: {a: b}}`, "spec.tls", "does not have the form", false},
		{"a selector with other keys", `{selector: {matchLabels: {a: b}, matchNames: [a]}}`, "spec.selector", "must be a label selector", false},
		{"a quantity that takes hours", `{memory: "1e-2000000000"}`, "spec.memory", "compute with it for hours", false},
		{"such a quantity in a map", `{limits: {cpu: 1, memory: "1e2000000000"}}`, "spec.limits.memory", "compute with it for hours", false},
		{"such a quantity in a list", `{steps: [{cpu: 1m, note: "1e12345"}, {cpu: "1e12345"}]}`, "spec.steps[1].cpu", "compute with it for hours", false},
		{"a selector that is left out", `{size: 1}`, "spec.selector", "is left out", false},
	} {
		object := objectOf(t, "spec: "+c.object)
		if c.path != "spec.selector" {
			object["spec"].(map[string]any)["selector"] = map[string]any{}
		}
		problems := compile(t, false).Check(object, "web")
		if len(problems) != 1 || problems[0].Path != c.path || !strings.Contains(problems[0].Detail, c.detail) {
			t.Errorf("%s: got %+v, want %s: %s", c.reason, problems, c.path, c.detail)
		}
		if passes := len(compile(t, true).Check(object, "web")) == 0; passes != c.trusted {
			t.Errorf("%s: a trusted kind passes it: %t", c.reason, passes)
		}
	}
}

// TestTrustedQuantities denies quantities that take hours where a schema allows anything, too.
func TestTrustedQuantities(t *testing.T) {
	t.Parallel()
	object := objectOf(t, `spec: {selector: {}, anything: {limits: {cpu: "1e-2000000000"}}, free: {a: ["2e12345"], b: 1Gi}}`)
	var paths []string
	for _, problem := range compile(t, true).Check(object, "web") {
		paths = append(paths, problem.Path)
	}
	if want := []string{"spec.anything.limits.cpu", "spec.free.a[0]"}; !slices.Equal(paths, want) {
		t.Errorf("denied: %v, want %v", paths, want)
	}
}

// TestKeyWithoutDescription denies a name that may be one of a Secret, where nothing describes it.
func TestKeyWithoutDescription(t *testing.T) {
	t.Parallel()
	schema := `{type: object, properties: {spec: {type: object, properties: {password: {type: object, properties: {name: {type: string}, key: {type: string}, optional: {type: boolean}}}}}}}`
	plan, err := Compile(schemaOf(t, schema), Options{Setting: "s"})
	if err != nil {
		t.Fatal(err)
	}
	problems := plan.Check(objectOf(t, `spec: {password: {name: shop-certs, key: k}}`), "web")
	if len(problems) != 1 || problems[0].Path != "spec.password" {
		t.Errorf("got %v, want a problem of spec.password", problems)
	}
}

// TestNoSpec denies an object without a spec, as it leaves out what a spec must have.
func TestNoSpec(t *testing.T) {
	t.Parallel()
	if problems := compile(t, false).Check(map[string]any{}, "web"); len(problems) != 1 || problems[0].Path != "spec.selector" {
		t.Errorf("got %+v, want spec.selector", problems)
	}
}

// TestRefs finds what must be on the host too.
func TestRefs(t *testing.T) {
	t.Parallel()
	object := objectOf(t, `spec: {secretName: b, tls: [{secretName: a}, {secretName: b}], username: {name: c, key: k}, configMapNames: [z, x], selector: {}}`)
	want := Refs{Secrets: []string{"a", "b", "c"}, ConfigMaps: []string{"x", "z"}}
	plan := compile(t, false)
	if diff := cmp.Diff(want, plan.Refs(object)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	names := plan.HostNames(object, "web", cluster(), widgets)
	if len(names.Own) != 5 || names.Own[host(secrets, "a")] != "a" || names.Own[host(configMaps, "z")] != "z" {
		t.Errorf("names on the host: %v", names)
	}
}

// TestCompileRefuses looks at rules that mean nothing.
func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason     string
		references []v1alpha1.Reference
		want       string
	}{
		{"a path that is not in the schema", []v1alpha1.Reference{{Path: "spec.nothing", To: "secrets"}}, "spec.nothing is no field of the schema"},
		{"a list as an object", []v1alpha1.Reference{{Path: "spec.tls.secretName", To: "secrets"}}, "spec.tls.secretName is no field"},
		{"a part of what allows anything", []v1alpha1.Reference{{Path: "spec.anything.a", To: "secrets"}}, "spec.anything.a is no field"},
		{"two rules", []v1alpha1.Reference{{Path: "spec.color", To: "secrets"}, {Path: "spec.color", To: "none"}}, "spec.color has two rules"},
		{"a kind that is not synced", []v1alpha1.Reference{{Path: "spec.color", To: "others.example.com"}}, "names others.example.com"},
		{"an object without a name", []v1alpha1.Reference{{Path: "spec.free", To: "object", Kinds: map[string]string{"Secret": "secrets"}}}, "spec.free has no name"},
	} {
		_, err := Compile(schemaOf(t, widgetSchema), Options{
			Setting: "sync.toHost.customResources[widgets.example.com]", References: c.references, Synced: func(string) bool { return false },
		})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "sync.toHost.customResources[widgets.example.com].references: ") {
			t.Errorf("%s: got %v, want %s", c.reason, err, c.want)
		}
	}
	open := schemaOf(t, "{type: object, x-kubernetes-preserve-unknown-fields: true}")
	if _, err := Compile(open, Options{}); err == nil || !strings.Contains(err.Error(), "allows anything") {
		t.Errorf("a schema that describes nothing: got %v", err)
	}
	if _, err := Compile(open, Options{Trusted: true}); err != nil {
		t.Errorf("a trusted kind without a schema of its fields: %v", err)
	}
	optional := Options{References: []v1alpha1.Reference{{Path: "spec.nothing", To: v1alpha1.ToEmpty, Optional: true}}}
	if _, err := Compile(schemaOf(t, widgetSchema), optional); err != nil {
		t.Errorf("a field that may be missing: %v", err)
	}
	if _, err := Compile(nil, Options{}); err == nil {
		t.Error("a definition without a schema must be refused")
	}
}

// TestWords splits keys as people read them.
func TestWords(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"secretKeyRef": "secret key ref", "configMap": "config map", "TLSSecret": "tls secret", "name": "name",
		"pod-selector": "pod selector", "service_account": "service account", "hostIP": "host ip", "preference": "preference",
	} {
		if got := strings.Join(wordsOf(key), " "); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}
