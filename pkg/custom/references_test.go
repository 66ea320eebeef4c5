package custom

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// routeSchema has a field of each kind of reference that needs a rule.
const routeSchema = `
type: object
properties:
  spec:
    type: object
    properties:
      issuerRef: {type: object, properties: {name: {type: string}, kind: {type: string}, group: {type: string}}}
      target: {type: object, properties: {name: {type: string}, kind: {type: string}, apiVersion: {type: string}, namespace: {type: string}}}
      parentRefs: {type: array, items: {type: object, properties: {name: {type: string}, kind: {type: string}, group: {type: string}, namespace: {type: string}, sectionName: {type: string}, filters: {type: array, items: {type: object, properties: {secretName: {type: string}}}}}}}
      issuers: {type: array, items: {type: string}}
      gateways: {type: array, items: {type: string}}
      className: {type: string}
      queue: {type: string}
      hostnames: {type: array, items: {type: string}}
      domain: {type: string}
      destination: {type: string}
      exportTo: {type: array, items: {type: string}}
      namespaceSelector: {type: object, properties: {any: {type: boolean}, matchNames: {type: array, items: {type: string}}}}
`

// routeReferences returns the rules for that schema.
func routeReferences() []v1alpha1.Reference {
	return []v1alpha1.Reference{
		{Path: "spec.issuerRef", To: "object", Kind: "Issuer", Kinds: map[string]string{"Issuer": "issuers.example.com", "ClusterIssuer": "clusterissuers.example.com"}, Names: []string{"vip"}},
		{Path: "spec.target", To: "object", Kinds: map[string]string{"Secret": "secrets", "Gateway": "gateways.example.com"}},
		{Path: "spec.parentRefs", To: "object", Kind: "Gateway", Kinds: map[string]string{"Gateway": "gateways.example.com", "Service": "services"}},
		{Path: "spec.issuers", To: "clusterissuers.example.com"},
		{Path: "spec.gateways", To: "gateways.example.com", Names: []string{"mesh"}},
		{Path: "spec.className", To: "storageclasses", Names: []string{"fast"}},
		{Path: "spec.queue", To: "queues.example.com", Names: []string{"default"}},
		{Path: "spec.hostnames", To: "hostname"},
		{Path: "spec.domain", To: "hostname", Optional: true},
		{Path: "spec.destination", To: "services"},
		{Path: "spec.exportTo", To: "namespace", Names: []string{"."}},
		{Path: "spec.namespaceSelector.any", To: "empty"},
		{Path: "spec.namespaceSelector.matchNames", To: "namespace"},
	}
}

func compileRoutes(t testing.TB) *Plan {
	t.Helper()
	kinds := map[string]*v1alpha1.HostCustomResource{
		"clusterissuers.example.com": {Enabled: true},
		"gateways.example.com": {
			Enabled: true, Scope: v1alpha1.NamespacedScope,
			Mappings: v1alpha1.CustomMappings{ByName: map[string]string{"shared/public": "edge/front", "infra/*": "web/*", "/own": "edge/own"}},
		},
	}
	plan, err := Compile(schemaOf(t, routeSchema), Options{
		Setting: "sync.toHost.customResources[routes.example.com]", References: routeReferences(),
		Synced:   func(resource string) bool { return resource == "issuers.example.com" },
		FromHost: func(resource string) *v1alpha1.HostCustomResource { return kinds[resource] },
		Shown: func(resource, namespace, name string) bool {
			return slices.Contains([]string{
				"clusterissuers.example.com//public", "gateways.example.com/edge/front", "gateways.example.com/web/inner", "gateways.example.com/edge/own",
			}, resource+"/"+namespace+"/"+name)
		},
		AllowsHost: func(host string) bool { return strings.HasSuffix(host, ".shop.example.com") },
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestClusterDomain takes names of Services in the domain of the virtual cluster alone.
func TestClusterDomain(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t, "{type: object, properties: {spec: {type: object, properties: {serviceName: {type: string}}}}}")
	plan, err := Compile(schema, Options{ClusterDomain: "shop.test"})
	if err != nil {
		t.Fatal(err)
	}
	for name, passes := range map[string]bool{"a": true, "a.web.svc": true, "a.web.svc.shop.test": true, "a.web.svc.cluster.local": false} {
		if problems := plan.Check(objectOf(t, "spec: {serviceName: "+name+"}"), "web"); (len(problems) == 0) != passes {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

// TestReferencesToHost looks at what reaches the host of references that have a rule.
func TestReferencesToHost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ reason, object, want string }{
		{"an object of the tenant", `{issuerRef: {name: a, kind: Issuer, group: example.com}}`, `{issuerRef: {name: ` + host(services, "a") + `, kind: Issuer, group: example.com}}`},
		{"the kind of the rule", `{issuerRef: {name: a}}`, `{issuerRef: {name: ` + host(services, "a") + `}}`},
		{"an object of the host", `{issuerRef: {name: public, kind: ClusterIssuer}, issuers: [public]}`, `{issuerRef: {name: public, kind: ClusterIssuer}, issuers: [public]}`},
		{"a name that the rule lists", `{issuerRef: {name: vip, kind: ClusterIssuer}, className: fast, queue: default, gateways: [mesh]}`, `{issuerRef: {name: vip, kind: ClusterIssuer}, className: fast, queue: default, gateways: [mesh]}`},
		{"a Secret", `{target: {kind: Secret, name: a, apiVersion: v1, namespace: web}}`, `{target: {kind: Secret, name: ` + host(secrets, "a") + `, apiVersion: v1, namespace: tenant}}`},
		{"no object", `{issuerRef: {name: ""}}`, `{issuerRef: {name: ""}}`},
		{
			"an object that a mapping shows", `{parentRefs: [{name: front, namespace: edge, group: example.com, sectionName: x}, {name: inner}, {name: own, namespace: edge}], gateways: [edge/front, inner]}`,
			`{parentRefs: [{name: public, namespace: shared, group: example.com, sectionName: x}, {name: inner, namespace: infra}, {name: own, namespace: tenant}], gateways: [shared/public, infra/inner]}`,
		},
		{"fields beside the reference", `{parentRefs: [{kind: Service, name: a, group: "", filters: [{secretName: b}]}]}`, `{parentRefs: [{kind: Service, name: ` + host(services, "a") + `, group: "", filters: [{secretName: ` + host(secrets, "b") + `}]}]}`},
		{"host names", `{hostnames: [a.shop.example.com], domain: ""}`, `{hostnames: [a.shop.example.com], domain: ""}`},
		{"a Service by its domain", `{destination: a.web.svc.cluster.local}`, `{destination: ` + host(services, "a") + `}`},
		{"namespaces", `{exportTo: [., web], namespaceSelector: {any: false, matchNames: [web]}}`, `{exportTo: [., tenant], namespaceSelector: {any: false, matchNames: [tenant]}}`},
	} {
		plan := compileRoutes(t)
		object, want := objectOf(t, "spec: "+c.object), objectOf(t, "spec: "+c.want)
		for _, o := range []map[string]any{object, want} {
			if spec, _ := o["spec"].(map[string]any); spec["hostnames"] == nil {
				spec["hostnames"] = []any{"a.shop.example.com"}
			}
		}
		if problems := plan.Check(object, "web"); len(problems) > 0 {
			t.Errorf("%s: denied: %v", c.reason, problems)
			continue
		}
		plan.ToHost(object, "web", cluster(), widgets)
		if diff := cmp.Diff(want, object); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

// TestReferencesDenied denies what is not the tenant's.
func TestReferencesDenied(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ reason, object, path, detail string }{
		{"another kind", `{issuerRef: {name: a, kind: Secret}}`, "spec.issuerRef.kind", "must be one of ClusterIssuer, Issuer"},
		{"no kind without a default", `{target: {name: a}}`, "spec.target.kind", "must be one of Gateway, Secret"},
		{"another group", `{issuerRef: {name: a, group: other.com}}`, "spec.issuerRef.group", `must be of the group "example.com"`},
		{"another API version", `{target: {name: a, kind: Secret, apiVersion: example.com/v1}}`, "spec.target.apiVersion", `must be of the group ""`},
		{"a kind of the core group with a group", `{parentRefs: [{kind: Service, name: a, group: example.com}]}`, "spec.parentRefs[0].group", `must be of the group ""`},
		{"an object that is not shown", `{issuerRef: {name: secret, kind: ClusterIssuer}}`, "spec.issuerRef.name", "is no object of clusterissuers.example.com that the host shows"},
		{"a name that is not shown", `{issuers: [public, secret]}`, "spec.issuers[1]", "that the host shows"},
		{"an object in a namespace that is not the tenant's", `{target: {kind: Secret, name: a, namespace: other}}`, "spec.target.namespace", "must be web or empty"},
		{"an object that no mapping shows", `{parentRefs: [{name: public, namespace: shared}]}`, "spec.parentRefs[0].name", "is no object that the host shows"},
		{"an object that a mapping would show", `{gateways: [web/missing]}`, "spec.gateways", "that the host shows"},
		{"a namespace without a name", `{target: {kind: Secret, namespace: web}}`, "spec.target.name", "must be set"},
		{"a name that is no text", `{target: {kind: Secret, name: {a: b}}}`, "spec.target.name", "must be text"},
		{"an object as text", `{target: a}`, "spec.target", "must be an object with kind and name"},
		{"a class that is not listed", `{className: slow}`, "spec.className", "must be a name that the rule lists"},
		{"a queue that is not listed", `{queue: other}`, "spec.queue", "must be a name that the rule lists"},
		{"a host name of somebody else", `{hostnames: [a.shop.example.com, other.example.com]}`, "spec.hostnames[1]", "this host name is not the tenant's"},
		{"no host names", `{hostnames: []}`, "spec.hostnames", "would have all host names"},
		{"host names that are left out", `{hostnames: null}`, "spec.hostnames", "would have all host names"},
		{"a host name that is no text", `{hostnames: [{a: b}]}`, "spec.hostnames[0]", "must be a host name"},
		{"a Service of another namespace", `{destination: a.other.svc.cluster.local}`, "spec.destination", "must be a Service of the namespace web"},
		{"all namespaces", `{namespaceSelector: {any: true}}`, "spec.namespaceSelector.any", "must be left out here"},
		{"a namespace that is not listed", `{exportTo: ["*"]}`, "spec.exportTo", "must be web or empty"},
		{"a reference below a reference", `{parentRefs: [{name: inner, filters: [{secretName: {a: b}}]}]}`, "spec.parentRefs[0].filters[0].secretName", "must be a name"},
	} {
		object := objectOf(t, "spec: "+c.object)
		if spec, _ := object["spec"].(map[string]any); !strings.Contains(c.object, "hostnames") {
			spec["hostnames"] = []any{"a.shop.example.com"}
		}
		problems := compileRoutes(t).Check(object, "web")
		if len(problems) != 1 || !strings.HasPrefix(problems[0].Path, c.path) || !strings.Contains(problems[0].Detail, c.detail) {
			t.Errorf("%s: got %+v, want %s: %s", c.reason, problems, c.path, c.detail)
		}
	}
}

// TestAsksOnceForEachObject counts the requests for objects of the host. Many fields may name the same object.
func TestAsksOnceForEachObject(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t, "{type: object, properties: {spec: {type: object, properties: {issuers: {type: array, items: {type: string}}, routers: {type: array, items: {type: string}}}}}}")
	got := map[string]int{}
	plan, err := Compile(schema, Options{
		References: []v1alpha1.Reference{{Path: "spec.issuers", To: "clusterissuers.example.com"}, {Path: "spec.routers", To: "routers.example.com"}},
		FromHost:   func(string) *v1alpha1.HostCustomResource { return &v1alpha1.HostCustomResource{Enabled: true} },
		Shown: func(resource, namespace, name string) bool {
			got[resource+"/"+namespace+"/"+name]++
			return name == "public"
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	object := objectOf(t, "spec: {issuers: [public, secret, public, secret, public], routers: [public]}")
	for _, want := range []int{1, 2} { // The next check asks again.
		problems := plan.Check(object, "web")
		if len(problems) != 2 || problems[0].Path != "spec.issuers[1]" || problems[1].Path != "spec.issuers[3]" {
			t.Errorf("got the problems %+v", problems)
		}
		counts := map[string]int{"clusterissuers.example.com//public": want, "clusterissuers.example.com//secret": want, "routers.example.com//public": want}
		if diff := cmp.Diff(counts, got); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	}
}
