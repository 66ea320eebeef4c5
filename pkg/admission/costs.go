package admission

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strconv"

	certificatesv1 "k8s.io/api/certificates/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/pkg/policy"
)

const (
	// maxKeyBits is the maximum size of the RSA key of a certificate signing request. The API server verifies its
	// signature, for which a key of a megabyte takes hours.
	maxKeyBits = 16384
	// maxRegexBytes is the maximum size of the compiled regular expressions of an object. Each start compiles them.
	maxRegexBytes = 16 << 20
)

// Costs returns the admission plugin that denies objects that the API server cannot validate in time. It mutates
// nothing, but runs as a mutating step, because validation by the resource precedes the validating ones.
func Costs() admission.MutationInterface {
	return costs{admission.NewHandler(admission.Create, admission.Update)}
}

// costs is the plugin of [Costs].
type costs struct{ *admission.Handler }

// Admit implements [admission.MutationInterface].
func (costs) Admit(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	var violations []policy.Violation
	var err error
	switch {
	case a.GetSubresource() != "":
	case a.GetResource().Group == rbacv1.GroupName:
		violations, err = checkRules(a, o)
	case a.GetResource().GroupResource() == apiextensionsv1.Resource("customresourcedefinitions"):
		if violations, err = checkNesting(a, o); err != nil || len(violations) > 0 {
			break // The other checks read what is nested.
		}
		violations, err = checkDefaults(a, o)
		violations = slices.Concat(violations, checkExpressions(a))
	case hasExpressions(a.GetResource().Group):
		violations = checkExpressions(a)
	case a.GetResource().GroupResource() == networkingv1.Resource("networkpolicies"):
		violations, err = checkPolicySize(a, o)
	case a.GetOperation() == admission.Create && a.GetResource().GroupResource() == certificatesv1.Resource("certificatesigningrequests"):
		violations, err = checkKey(a, o)
	}
	if err != nil || len(violations) == 0 {
		return err
	}
	return deny(a, "%s", policy.Message(violations))
}

// checkNesting denies a definition that is nested too deeply to be read from the store or in a list. The limit of a body
// is not enough: a request in protobuf has texts of JSON in it, each with a limit of its own.
func checkNesting(a admission.Attributes, o admission.ObjectInterfaces) ([]policy.Violation, error) {
	definition, err := toV1[apiextensionsv1.CustomResourceDefinition](a.GetObject(), o)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(definition)
	if err == nil && json.Valid(slices.Concat([]byte("[["), text, []byte("]]"))) { // A list has two more levels.
		return nil, nil
	}
	return []policy.Violation{{Field: "spec.versions", Detail: "the definition is nested so deeply that nobody could read it again"}}, nil
}

// hasExpressions reports whether the API server compiles expressions and regular expressions in objects of a group.
func hasExpressions(group string) bool {
	return slices.Contains([]string{"apiextensions.k8s.io", "admissionregistration.k8s.io", "resource.k8s.io"}, group)
}

// checkRegexes denies an object whose regular expressions take too much memory. An update may leave them as they are.
func checkRegexes(a admission.Attributes) []policy.Violation {
	cost := regexCost(a.GetObject())
	if cost <= maxRegexBytes || a.GetOldObject() != nil && cost <= regexCost(a.GetOldObject()) {
		return nil
	}
	return []policy.Violation{{
		Field: "spec", Value: "regular expressions of " + strconv.FormatInt(cost>>20, 10) + " MiB",
		Detail: "the control plane has them in memory; repeat less, as with {1,1000}, so that they take at most " +
			strconv.Itoa(maxRegexBytes>>20) + " MiB",
	}}
}

// checkPolicySize denies a NetworkPolicy whose copy would be very much larger.
func checkPolicySize(a admission.Attributes, o admission.ObjectInterfaces) ([]policy.Violation, error) {
	after, err := toV1[networkingv1.NetworkPolicy](a.GetObject(), o)
	if err != nil || a.GetOldObject() == nil {
		return policy.EvaluateNetworkPolicySize(nil, after), err
	}
	before, err := toV1[networkingv1.NetworkPolicy](a.GetOldObject(), o)
	return policy.EvaluateNetworkPolicySize(before, after), err
}

// checkKey denies a certificate signing request with a very large key.
func checkKey(a admission.Attributes, o admission.ObjectInterfaces) ([]policy.Violation, error) {
	request, err := toV1[certificatesv1.CertificateSigningRequest](a.GetObject(), o)
	if err != nil {
		return nil, err
	}
	bits := keyBits(request.Spec.Request)
	if bits <= maxKeyBits {
		return nil, nil
	}
	return []policy.Violation{{
		Field: "spec.request", Value: "RSA key of " + strconv.Itoa(bits) + " bits",
		Detail: "the control plane verifies its signature; use a key of at most " + strconv.Itoa(maxKeyBits) + " bits",
	}}, nil
}

// keyBits returns the size of the RSA key of a request in bits. It is 0 for another key, and for an invalid request, which
// the API server denies.
func keyBits(text []byte) int {
	block, _ := pem.Decode(text)
	if block == nil {
		return 0
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return 0
	}
	if key, ok := request.PublicKey.(*rsa.PublicKey); ok {
		return key.N.BitLen()
	}
	return 0
}
