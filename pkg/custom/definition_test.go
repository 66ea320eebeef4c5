package custom

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// version returns a version in the form "name", "name served" or "name served storage".
func version(text string) apiextensionsv1.CustomResourceDefinitionVersion {
	name, flags, _ := strings.Cut(text, " ")
	return apiextensionsv1.CustomResourceDefinitionVersion{
		Name: name, Served: strings.Contains(flags, "served"), Storage: strings.Contains(flags, "storage"),
		Schema:                   &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Description: name}},
		Subresources:             &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
		AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Size", Type: "integer", JSONPath: ".spec.size"}},
	}
}

func definition(strategy apiextensionsv1.ConversionStrategyType, versions ...string) *apiextensionsv1.CustomResourceDefinition {
	d := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: widgets, UID: "h", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names:      apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Kind: "Widget", Categories: []string{"all"}},
			Conversion: &apiextensionsv1.CustomResourceConversion{Strategy: strategy},
		},
	}
	for _, v := range versions {
		d.Spec.Versions = append(d.Spec.Versions, version(v))
	}
	return d
}

// TestNewDefinition looks at the versions of the copy.
func TestNewDefinition(t *testing.T) {
	t.Parallel()
	const none, webhook = apiextensionsv1.NoneConverter, apiextensionsv1.WebhookConverter
	for _, c := range []struct {
		reason  string
		host    *apiextensionsv1.CustomResourceDefinition
		virtual *apiextensionsv1.CustomResourceDefinition
		wanted  Wanted
		version string
		copied  []string
		err     string
	}{
		{"one version", definition(none, "v1 served storage"), nil, Wanted{}, "v1", []string{"v1 served storage"}, ""},
		{"without conversion all versions pass", definition(none, "v1 served storage", "v2 served", "v0"), nil, Wanted{}, "v1", []string{"v1 served storage", "v2 served", "v0"}, ""},
		{"the key names a version", definition(none, "v1 served storage", "v2 served"), nil, Wanted{Version: "v2"}, "v2", []string{"v1 served storage", "v2 served"}, ""},
		{"a storage version that is not served", definition(none, "v1 storage", "v2 served"), nil, Wanted{}, "v2", []string{"v1 storage", "v2 served"}, ""},
		{"a webhook leaves the storage version", definition(webhook, "v1 served", "v2 served storage"), nil, Wanted{}, "v2", []string{"v2 served storage"}, ""},
		{"a webhook leaves the version of the key", definition(webhook, "v1 served", "v2 served storage"), nil, Wanted{Version: "v1"}, "v1", []string{"v1 served storage"}, ""},
		{"a webhook and no served storage version", definition(webhook, "v1 served", "v2 storage"), nil, Wanted{}, "", nil, "name one version in the key"},
		{"a version that is not there", definition(none, "v1 served storage"), nil, Wanted{Version: "v3"}, "", nil, "does not serve the version v3"},
		{"a version that is not served", definition(none, "v1 served storage", "v2"), nil, Wanted{Version: "v2"}, "", nil, "does not serve the version v2"},
		{"no served version", definition(none, "v1 storage"), nil, Wanted{}, "", nil, "serves no version"},
		{"another scope", definition(none, "v1 served storage"), nil, Wanted{Scope: apiextensionsv1.ClusterScoped}, "", nil, "scope on the host is Namespaced"},
		{
			"a version with objects stays", definition(webhook, "v1 served", "v2 served storage"), stored(), Wanted{}, "v2",
			[]string{"v2 served storage", "v1"}, "",
		},
		{
			"a webhook does not convert objects of the tenant", definition(webhook, "v1 served", "v2 served storage"), stored(), Wanted{OfTenant: true},
			"v1", []string{"v1 served storage"}, "",
		},
		{
			"the tenant has objects in a version that the host no longer serves", definition(webhook, "v1", "v2 served storage"), stored(),
			Wanted{OfTenant: true}, "", nil, "the tenant's objects are stored in v1, and the host does not serve the version v1; name one version in the key",
		},
		{
			"the key names another version than that of the objects", definition(webhook, "v1", "v2 served storage"), stored(),
			Wanted{OfTenant: true, Version: "v2"}, "v2", []string{"v2 served storage", "v1"}, "",
		},
		{
			"without conversion objects of the tenant have all versions", definition(none, "v1 served", "v2 served storage"), stored(), Wanted{OfTenant: true},
			"v2", []string{"v1 served", "v2 served storage"}, "",
		},
	} {
		if c.wanted.Scope == "" {
			c.wanted.Scope = apiextensionsv1.NamespaceScoped
		}
		got, err := NewDefinition(c.host, c.virtual, c.wanted)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: got %v, want %s", c.reason, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.reason, err)
			continue
		}
		want := definition(none, c.copied...)
		want.UID, want.Labels, want.Annotations = "", nil, map[string]string{labels.HostUID: "h"}
		if diff := cmp.Diff(want, got.Copy); diff != "" || got.Version != c.version {
			t.Errorf("%s: version %s, want %s (-want +got):\n%s", c.reason, got.Version, c.version, diff)
		}
		if SchemaOf(got.Copy, got.Version).Description != c.version {
			t.Errorf("%s: another schema than that of its version", c.reason)
		}
	}
}

// TestRulesOfTheHost leaves rules in CEL out for kinds of the host. A copy may get two changes
// at once, and an object may be older than a rule.
func TestRulesOfTheHost(t *testing.T) {
	t.Parallel()
	rules := apiextensionsv1.ValidationRules{{Rule: "self == oldSelf"}}
	for _, tenants := range []bool{false, true} {
		host := definition(apiextensionsv1.NoneConverter, "v1 served storage")
		text := apiextensionsv1.JSONSchemaProps{Type: "string", XValidations: rules}
		list := apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: text.DeepCopy()}}
		values := apiextensionsv1.JSONSchemaProps{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Schema: text.DeepCopy()}}
		host.Spec.Versions[0].Schema.OpenAPIV3Schema = &apiextensionsv1.JSONSchemaProps{
			Type: "object", XValidations: rules, Properties: map[string]apiextensionsv1.JSONSchemaProps{"text": text, "list": list, "values": values},
		}
		got, err := NewDefinition(host, nil, Wanted{Scope: apiextensionsv1.NamespaceScoped, OfTenant: tenants})
		if err != nil {
			t.Fatal(err)
		}
		schema := SchemaOf(got.Copy, "v1")
		for name, rules := range map[string]apiextensionsv1.ValidationRules{
			"root": schema.XValidations, "field": schema.Properties["text"].XValidations,
			"items": schema.Properties["list"].Items.Schema.XValidations, "values": schema.Properties["values"].AdditionalProperties.Schema.XValidations,
		} {
			if has := len(rules) > 0; has != tenants {
				t.Errorf("objects of the tenant %t: %s has rules: %t", tenants, name, has)
			}
		}
		if len(SchemaOf(host, "v1").Properties["text"].XValidations) == 0 {
			t.Error("the definition of the host has changed")
		}
	}
}

// TestScaleOfTheHost leaves the subresource scale out for kinds of the host. Nobody can deny its changes of copies.
func TestScaleOfTheHost(t *testing.T) {
	t.Parallel()
	scale := &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.replicas", StatusReplicasPath: ".status.replicas"}
	for _, tenants := range []bool{false, true} {
		host, virtual := definition(apiextensionsv1.NoneConverter, "v2 served storage", "v3 served", "v4"), stored()
		for _, d := range []*apiextensionsv1.CustomResourceDefinition{host, virtual} {
			for i := range d.Spec.Versions {
				d.Spec.Versions[i].Subresources.Scale = scale
			}
		}
		host.Spec.Versions[2].Subresources = nil
		got, err := NewDefinition(host, virtual, Wanted{Scope: apiextensionsv1.NamespaceScoped, OfTenant: tenants})
		if err != nil {
			t.Fatal(err)
		}
		scaled := map[string]bool{}
		for _, v := range got.Copy.Spec.Versions {
			scaled[v.Name] = v.Subresources != nil && v.Subresources.Scale != nil
			if v.Name != "v4" && !HasStatus(got.Copy, v.Name) {
				t.Errorf("objects of the tenant %t: %s has no status", tenants, v.Name)
			}
		}
		if diff := cmp.Diff(map[string]bool{"v1": tenants, "v2": tenants, "v3": tenants, "v4": false}, scaled); diff != "" {
			t.Errorf("objects of the tenant %t: versions with scale (-want +got):\n%s", tenants, diff)
		}
		if host.Spec.Versions[0].Subresources.Scale == nil || virtual.Spec.Versions[0].Subresources.Scale == nil {
			t.Error("the definition of the host or the copy as it is has changed")
		}
	}
}

// stored returns a copy that has objects in v1.
func stored() *apiextensionsv1.CustomResourceDefinition {
	d := definition(apiextensionsv1.NoneConverter, "v1 served storage")
	d.Status.StoredVersions = []string{"v1"}
	return d
}

// TestIsServed reads the conditions and marks of definitions.
func TestIsServed(t *testing.T) {
	t.Parallel()
	d := definition(apiextensionsv1.NoneConverter, "v1 served storage")
	if IsServed(d) || IsCopy(d) || SchemaOf(d, "v9") != nil {
		t.Error("a definition without conditions and annotations is no served copy")
	}
	d.Annotations = map[string]string{labels.HostUID: "h"}
	d.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
	if !IsServed(d) || !IsCopy(d) {
		t.Error("an established definition with the mark is a served copy")
	}
	d.Spec.PreserveUnknownFields = true
	if _, err := NewDefinition(d, nil, Wanted{Scope: apiextensionsv1.NamespaceScoped}); err == nil {
		t.Error("unknown fields of anything must be refused")
	}
}
