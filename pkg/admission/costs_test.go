package admission

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
)

// newKeyRequest returns a certificate signing request with an RSA key of some bits. Its signature is wrong.
func newKeyRequest(t *testing.T, bits int) []byte {
	t.Helper()
	modulus := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
	key, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: modulus, E: 1<<31 - 1})
	if err != nil {
		t.Fatal(err)
	}
	type content struct {
		Version      int
		Subject, Key asn1.RawValue
		Attributes   []asn1.RawValue `asn1:"tag:0"`
	}
	der, err := asn1.Marshal(struct {
		Content   content
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{
		Content: content{Subject: asn1.RawValue{FullBytes: []byte{0x30, 0}}, Key: asn1.RawValue{FullBytes: key}},
		Algorithm: pkix.AlgorithmIdentifier{ // SHA256WithRSA
			Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, Parameters: asn1.NullRawValue,
		},
		Signature: asn1.BitString{Bytes: make([]byte, bits/8), BitLength: bits},
	})
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// TestLargeKeys checks that nobody lets the API server verify a signature for hours.
func TestLargeKeys(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request []byte
		denied  bool
	}{
		"ordinary": {request: newKeyRequest(t, 4096)},
		"largest":  {request: newKeyRequest(t, maxKeyBits)},
		"larger":   {request: newKeyRequest(t, maxKeyBits+8), denied: true},
		"megabyte": {request: newKeyRequest(t, 8<<20), denied: true},
		"invalid":  {request: []byte("no request")},
	} {
		object := &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{Name: "large"}, Spec: certificatesv1.CertificateSigningRequestSpec{Request: c.request},
		}
		attributes := admission.NewAttributesRecord(object, nil, schema.GroupVersionKind{}, "", "large",
			certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests"), "", admission.Create, &metav1.CreateOptions{}, false, nil)
		err := Costs().Admit(t.Context(), attributes, nil)
		if (err != nil) != c.denied || err != nil && !strings.Contains(err.Error(), "spec.request") {
			t.Errorf("%s: %v, want a denial: %t", name, err, c.denied)
		}
	}
}

// TestLargeRegexes checks that no regular expressions fill the memory at each start.
func TestLargeRegexes(t *testing.T) {
	t.Parallel()
	const ordinary = `^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`
	large := "(?:" + strings.Repeat("a", 600) + "){1000}"
	definition := func(pattern, rule string) *apiextensionsv1.CustomResourceDefinition {
		schema := apiextensionsv1.JSONSchemaProps{Properties: map[string]apiextensionsv1.JSONSchemaProps{"a": {
			Pattern: pattern, XValidations: apiextensionsv1.ValidationRules{{Rule: rule}},
		}}}
		return &apiextensionsv1.CustomResourceDefinition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{Versions: []apiextensionsv1.CustomResourceDefinitionVersion{
			{Name: "v1", Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &schema}},
		}}}
	}
	validating := func(expression string) *admissionregistrationv1.ValidatingAdmissionPolicy {
		return &admissionregistrationv1.ValidatingAdmissionPolicy{Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			Validations: []admissionregistrationv1.Validation{{Expression: expression}},
		}}
	}
	definitions := apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")
	policies := admissionregistrationv1.SchemeGroupVersion.WithResource("validatingadmissionpolicies")
	for name, c := range map[string]struct {
		resource schema.GroupVersionResource
		old, new runtime.Object
		denied   bool
	}{
		"ordinary":      {resource: definitions, new: definition(ordinary, "self.matches('"+ordinary+"')")},
		"pattern":       {resource: definitions, new: definition(large, "true"), denied: true},
		"classes":       {resource: definitions, new: definition(strings.Repeat(`\pL`, 8000), "true"), denied: true},
		"rule":          {resource: definitions, new: definition("", "self.all(x, x.matches('"+large+"'))"), denied: true},
		"update":        {resource: definitions, old: definition("", "true"), new: definition(large, "true"), denied: true},
		"older":         {resource: definitions, old: definition(large, "true"), new: definition(large, "true")},
		"policy":        {resource: policies, new: validating("object.?metadata.orValue('').find('" + large + "') != ''"), denied: true},
		"split":         {resource: policies, new: validating(strings.Repeat("'a'.matches('(?:"+strings.Repeat("a", 200)+"){1000}') && ", 3) + "true"), denied: true},
		"plain text":    {resource: policies, new: validating("'" + large + "' != ''")},
		"few and plain": {resource: policies, new: validating("'a'.matches('" + ordinary + "')")},
	} {
		operation := admission.Update
		if c.old == nil {
			operation = admission.Create
		}
		err := Costs().Admit(t.Context(), admission.NewAttributesRecord(c.new, c.old, schema.GroupVersionKind{}, "", "large", c.resource, "", operation, nil, false, nil), nil)
		if (err != nil) != c.denied || err != nil && !strings.Contains(err.Error(), "regular expressions of") {
			t.Errorf("%s: %v, want a denial: %t", name, err, c.denied)
		}
	}
}

// TestLargeRoles checks that no rules fill the memory when roles are compared.
func TestLargeRoles(t *testing.T) {
	t.Parallel()
	role := func(n int) *rbacv1.ClusterRole {
		many := slices.Repeat([]string{"x"}, n)
		return &rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{{APIGroups: many, Resources: many, Verbs: many, ResourceNames: many}}}
	}
	for name, c := range map[string]struct {
		resource string
		old, new runtime.Object
		denied   bool
	}{
		"ordinary":  {resource: "clusterroles", new: role(10)},
		"large":     {resource: "clusterroles", new: role(100), denied: true},
		"namespace": {resource: "roles", new: &rbacv1.Role{Rules: role(100).Rules}, denied: true},
		"paths": {resource: "clusterroles", denied: true, new: &rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{{
			NonResourceURLs: slices.Repeat([]string{"/x"}, 1000), Verbs: slices.Repeat([]string{"get"}, 1000),
		}}}},
		"grown":   {resource: "clusterroles", old: role(1), new: role(100), denied: true},
		"older":   {resource: "clusterroles", old: role(100), new: role(100)},
		"binding": {resource: "clusterrolebindings", new: &rbacv1.ClusterRoleBinding{}},
	} {
		operation := admission.Update
		if c.old == nil {
			operation = admission.Create
		}
		err := Costs().Admit(t.Context(), admission.NewAttributesRecord(c.new, c.old, schema.GroupVersionKind{}, "", "large",
			rbacv1.SchemeGroupVersion.WithResource(c.resource), "", operation, nil, false, nil), nil)
		if (err != nil) != c.denied || err != nil && !strings.Contains(err.Error(), "permissions") {
			t.Errorf("%s: %v, want a denial: %t", name, err, c.denied)
		}
	}
}

// TestMultipliedDefaults checks that no defaults make a large object of an empty one.
func TestMultipliedDefaults(t *testing.T) {
	t.Parallel()
	type properties = map[string]apiextensionsv1.JSONSchemaProps
	object := func(of properties) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", Properties: of}
	}
	list := func(n int, items apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		raw := "[" + strings.TrimSuffix(strings.Repeat("{},", n), ",") + "]"
		return apiextensionsv1.JSONSchemaProps{
			Type: "array", Default: &apiextensionsv1.JSON{Raw: []byte(raw)}, Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &items},
		}
	}
	definition := func(spec apiextensionsv1.JSONSchemaProps) *apiextensionsv1.CustomResourceDefinition {
		whole := object(properties{"spec": spec})
		return &apiextensionsv1.CustomResourceDefinition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{Versions: []apiextensionsv1.CustomResourceDefinitionVersion{
			{Name: "v1", Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &whole}},
		}}}
	}
	levels := func(n int) *apiextensionsv1.CustomResourceDefinition {
		return definition(object(properties{"a": list(n, object(properties{"b": list(n, object(properties{"c": list(n, object(nil))}))}))}))
	}
	protocol := apiextensionsv1.JSONSchemaProps{Type: "string", Default: &apiextensionsv1.JSON{Raw: []byte(`"TCP"`)}}
	for name, c := range map[string]struct {
		old, new *apiextensionsv1.CustomResourceDefinition
		denied   bool
	}{
		"ordinary":   {new: definition(object(properties{"ports": list(2, object(properties{"protocol": protocol}))}))},
		"few":        {new: levels(5)},
		"multiplied": {new: levels(300), denied: true},
		"in items": {denied: true, new: definition(apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{
			Schema: levels(20).Spec.Versions[0].Schema.OpenAPIV3Schema,
		}})},
		"changed": {old: definition(object(nil)), new: levels(300), denied: true},
		"older":   {old: levels(300), new: levels(300)},
		"fewer":   {old: levels(300), new: levels(20)},
		"smaller": {old: levels(300), new: levels(299), denied: true}, // Nobody knows, as both counts end at a million.
		"larger":  {old: levels(20), new: levels(21), denied: true},
		"set": {new: definition(object(properties{"a": apiextensionsv1.JSONSchemaProps{
			Type: "object", Default: &apiextensionsv1.JSON{Raw: []byte(`{"b": []}`)}, Properties: properties{"b": list(999, protocol)},
		}}))},
		"none": {new: &apiextensionsv1.CustomResourceDefinition{}},
	} {
		operation, old := admission.Create, runtime.Object(nil)
		if c.old != nil {
			operation, old = admission.Update, c.old
		}
		err := Costs().Admit(t.Context(), admission.NewAttributesRecord(c.new, old, schema.GroupVersionKind{}, "", "large",
			apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions"), "", operation, nil, false, nil), nil)
		if (err != nil) != c.denied || err != nil && !strings.Contains(err.Error(), "defaults of") {
			t.Errorf("%s: %v, want a denial: %t", name, err, c.denied)
		}
	}
}

// TestDefaultsOfManyProperties counts 900,000 objects of a schema with a hundred thousand properties. If each object
// looked at each property, that would take half an hour.
func TestDefaultsOfManyProperties(t *testing.T) {
	t.Parallel()
	one := &apiextensionsv1.JSON{Raw: []byte("1")}
	for name, c := range map[string]struct {
		properties int
		value      *apiextensionsv1.JSON // the default of each property
		object     string                // in the default of the list
		objects    int
		want       int
	}{
		"without defaults": {properties: 100_000, object: "{}", objects: 900_000, want: 900_001},
		"with defaults":    {properties: 100_000, value: one, object: "{}", objects: 900_000, want: manyDefaults},
		"with a value":     {properties: 1000, value: one, object: `{"p1":2}`, objects: 2, want: 1 + 2*(1+1000)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			item := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
			for i := range c.properties {
				item.Properties["p"+strconv.Itoa(i)] = apiextensionsv1.JSONSchemaProps{Type: "integer", Default: c.value}
			}
			list := apiextensionsv1.JSONSchemaProps{
				Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item},
				Default: &apiextensionsv1.JSON{Raw: []byte("[" + strings.TrimSuffix(strings.Repeat(c.object+",", c.objects), ",") + "]")},
			}
			whole := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"list": list}}
			definition := &apiextensionsv1.CustomResourceDefinition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &whole}}},
			}}
			if got := countDefaults(definition); got != c.want {
				t.Errorf("the defaults add %d values, want %d", got, c.want)
			}
		})
	}
}

// TestUnreadableDefinitions checks that no definition is nested so deeply that a list of it cannot be read.
func TestUnreadableDefinitions(t *testing.T) {
	t.Parallel()
	for levels, denied := range map[int]bool{100: false, 9000: false, 9994: true, 9998: true} {
		example := slices.Concat(bytes.Repeat([]byte("["), levels), bytes.Repeat([]byte("]"), levels))
		definition := &apiextensionsv1.CustomResourceDefinition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Schema: &apiextensionsv1.CustomResourceValidation{
				OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Example: &apiextensionsv1.JSON{Raw: example}},
			}}},
		}}
		err := Costs().Admit(t.Context(), admission.NewAttributesRecord(definition, nil, schema.GroupVersionKind{}, "", "deep",
			apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions"), "", admission.Create, nil, false, nil), nil)
		if (err != nil) != denied || err != nil && !strings.Contains(err.Error(), "nested so deeply") {
			t.Errorf("%d levels: %v, want a denial: %t", levels, err, denied)
		}
	}
}

// TestLargeValues checks that no expression puts a value together that fills the memory.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	mutating := func(times int, first string) *admissionregistrationv1.MutatingAdmissionPolicy {
		variables := []admissionregistrationv1.Variable{{Name: "v0", Expression: first}}
		for i := range times {
			before := "variables.v" + strconv.Itoa(i)
			variables = append(variables, admissionregistrationv1.Variable{Name: "v" + strconv.Itoa(i+1), Expression: "[" + before + ", " + before + "]"})
		}
		return &admissionregistrationv1.MutatingAdmissionPolicy{Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			Variables: variables, Mutations: []admissionregistrationv1.Mutation{{JSONPatch: &admissionregistrationv1.JSONPatch{
				Expression: `[JSONPatch{op: "add", path: "/metadata/annotations/x", value: variables.v` + strconv.Itoa(times) + `}]`,
			}}},
		}}
	}
	environment := &admissionregistrationv1.MutatingAdmissionPolicy{Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
		Mutations: []admissionregistrationv1.Mutation{{ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{
			Expression: `Object{spec: Object.spec{containers: object.spec.containers.map(c, Object.spec.containers.item{name: c.name, ` +
				`env: c.env.map(e, Object.spec.containers.item.env.item{name: e.name, value: e.value + "x"})})}}`,
		}}},
	}}
	for name, c := range map[string]struct {
		old, new runtime.Object
		denied   bool
	}{
		"few":         {new: mutating(3, "[true, true]")},
		"doubled":     {new: mutating(40, "[true, true]"), denied: true},
		"one":         {new: mutating(40, "object.spec"), denied: true},
		"environment": {new: environment},
		"changed":     {old: mutating(1, "true"), new: mutating(40, "true"), denied: true},
		"older":       {old: mutating(40, "true"), new: mutating(40, "true")},
		"no policy":   {new: &admissionregistrationv1.ValidatingWebhookConfiguration{}},
	} {
		operation := admission.Update
		if c.old == nil {
			operation = admission.Create
		}
		err := Costs().Admit(t.Context(), admission.NewAttributesRecord(c.new, c.old, schema.GroupVersionKind{}, "", "large",
			admissionregistrationv1.SchemeGroupVersion.WithResource("mutatingadmissionpolicies"), "", operation, nil, false, nil), nil)
		if (err != nil) != c.denied || err != nil && !strings.Contains(err.Error(), "parts in an expression") {
			t.Errorf("%s: %v, want a denial: %t", name, err, c.denied)
		}
	}
}

// TestManyVariables checks that no policy has so many variables that they take minutes to check or to compile.
func TestManyVariables(t *testing.T) {
	t.Parallel()
	validating := func(n int) *admissionregistrationv1.ValidatingAdmissionPolicy {
		made := &admissionregistrationv1.ValidatingAdmissionPolicy{}
		for i := range n {
			made.Spec.Variables = append(made.Spec.Variables, admissionregistrationv1.Variable{Name: "v" + strconv.Itoa(i), Expression: "1"})
		}
		return made
	}
	for name, c := range map[string]struct {
		old, new runtime.Object
		denied   bool
	}{
		"largest":   {new: validating(maxVariables)},
		"larger":    {new: validating(maxVariables + 1), denied: true},
		"very many": {new: validating(100_000), denied: true},
		"changed":   {old: validating(maxVariables + 1), new: validating(maxVariables + 2), denied: true},
		"older":     {old: validating(maxVariables + 1), new: validating(maxVariables + 1)},
	} {
		operation := admission.Update
		if c.old == nil {
			operation = admission.Create
		}
		err := Costs().Admit(t.Context(), admission.NewAttributesRecord(c.new, c.old, schema.GroupVersionKind{}, "", "large",
			admissionregistrationv1.SchemeGroupVersion.WithResource("validatingadmissionpolicies"), "", operation, nil, false, nil), nil)
		if (err != nil) != c.denied || err != nil && !strings.Contains(err.Error(), "spec.variables") {
			t.Errorf("%s: %v, want a denial: %t", name, err, c.denied)
		}
	}
}
