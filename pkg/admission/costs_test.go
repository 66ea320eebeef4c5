package admission

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
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
