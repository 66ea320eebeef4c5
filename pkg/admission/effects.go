package admission

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// addEffectChecks adds a warning for each resource whose objects lack an effect, in
// addition to the checks that the resource has.
func addEffectChecks(checks Checks, settings *v1alpha1.Config) {
	for resource, effect := range policy.Effects(settings) {
		if text := effect.Warning(resource); text != "" {
			checks.Add(resource, warnAtCreate(text))
		}
	}
}

// warnAtCreate returns a check that warns whoever creates an object.
func warnAtCreate(text string) PolicyCheck {
	return func(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (Decision, error) {
		if a.GetOperation() != admission.Create || a.GetSubresource() != "" {
			return Decision{}, nil
		}
		return Decision{Warnings: []string{text}}, nil
	}
}

// checkNetworkPolicies returns the check of NetworkPolicies. It warns of peers that the
// operator keeps closed.
func checkNetworkPolicies(workload v1alpha1.WorkloadNetwork) PolicyCheck {
	return func(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
		written, _, err := writtenObject[networkingv1.NetworkPolicy](a, o)
		if err != nil || written == nil {
			return Decision{}, err
		}
		return warn("", policy.EvaluateNetworkPolicy(workload, &written.Spec)), nil
	}
}

// warn returns a warning of violations that deny nothing, with a text in front.
func warn(prefix string, violations []policy.Violation) Decision {
	if len(violations) == 0 {
		return Decision{}
	}
	return Decision{Warnings: []string{prefix + policy.Message(violations)}}
}
