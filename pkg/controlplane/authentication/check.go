package authentication

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverinstall "k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// setting is the path of the settings.
const setting = "controlPlane.advanced.authentication"

// reservedPrefixes returns how the names of Kubernetes and of Sublet begin. No claim becomes
// a user or a group with such a name.
func reservedPrefixes() []string { return []string{"system:", "sublet:"} }

// isReserved reports whether a user or group is one that only the virtual cluster itself
// gives.
func isReserved(name string) bool {
	return slices.ContainsFunc(reservedPrefixes(), func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// Check compiles the settings, and returns all that is wrong with them. own are the issuers of
// the virtual cluster itself.
func Check(settings v1alpha1.Authentication, own []string) field.ErrorList {
	_, problems := parse(settings, own)
	return problems
}

// parse compiles the settings and returns them as the API's own type, and all that is wrong
// with them, each with its path. own are the issuers of the virtual cluster itself.
func parse(settings v1alpha1.Authentication, own []string) ([]apiserver.JWTAuthenticator, field.ErrorList) {
	if len(settings.JWT) == 0 {
		return nil, nil
	}
	jwt := field.NewPath(setting, "jwt")
	config, err := convert(settings)
	if err != nil {
		return nil, field.ErrorList{field.InternalError(jwt, err)}
	}
	problems := validation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), config, own)
	for _, problem := range problems {
		problem.Field = setting + "." + problem.Field
	}
	for i, authenticator := range config.JWT {
		mappings := jwt.Index(i).Child("claimMappings")
		for name, prefix := range map[string]*string{
			"username": authenticator.ClaimMappings.Username.Prefix, "groups": authenticator.ClaimMappings.Groups.Prefix,
		} {
			if prefix != nil && isReserved(*prefix) {
				problems = append(problems, field.Invalid(mappings.Child(name, "prefix"), *prefix,
					"must not begin with "+strings.Join(reservedPrefixes(), " or ")+", which name parts of the virtual cluster"))
			}
		}
	}
	slices.SortFunc(problems, func(a, b *field.Error) int { return strings.Compare(a.Field, b.Field) })
	return config.JWT, problems
}

// convert decodes the settings as an AuthenticationConfiguration, with the API's defaults.
func convert(settings v1alpha1.Authentication) (*apiserver.AuthenticationConfiguration, error) {
	data, err := json.Marshal(map[string]any{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": settings.JWT,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s: %w", setting, err)
	}
	scheme := runtime.NewScheme()
	apiserverinstall.Install(scheme)
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	decoded, err := runtime.Decode(codecs.UniversalDecoder(), bytes.TrimSpace(data))
	if err != nil {
		return nil, fmt.Errorf("cannot decode %s: %w", setting, err)
	}
	config, ok := decoded.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("cannot decode %s: it is a %T", setting, decoded)
	}
	return config, nil
}
