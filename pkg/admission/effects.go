package admission

import (
	"context"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// addEffectChecks adds a warning for each resource whose objects lack an effect, in
// addition to the checks that the resource has.
func addEffectChecks(checks map[schema.GroupResource]PolicyCheck, settings *v1alpha1.Config) {
	for resource, effect := range policy.Effects(settings) {
		if text := effect.Warning(resource); text != "" {
			checks[resource] = also(checks[resource], warnAtCreate(text))
		}
	}
}

// warnAtCreate returns a check that warns whoever creates an object.
func warnAtCreate(text string) PolicyCheck {
	return func(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (Judgement, error) {
		if a.GetOperation() != admission.Create || a.GetSubresource() != "" {
			return Judgement{}, nil
		}
		return Judgement{Warnings: []string{text}}, nil
	}
}

// also returns a check that makes both checks. first may be nil.
func also(first, second PolicyCheck) PolicyCheck {
	if first == nil {
		return second
	}
	return func(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Judgement, error) {
		judgement, err := first(ctx, a, o)
		if err != nil {
			return judgement, err
		}
		further, err := second(ctx, a, o)
		judgement.Violations = slices.Concat(judgement.Violations, further.Violations)
		judgement.Warnings = slices.Concat(judgement.Warnings, further.Warnings)
		return judgement, err
	}
}

// checkNetworkPolicies returns the check of NetworkPolicies. It warns of peers that the
// operator keeps closed.
func checkNetworkPolicies(workload v1alpha1.WorkloadNetwork) PolicyCheck {
	return func(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Judgement, error) {
		if a.GetSubresource() != "" || a.GetOperation() != admission.Create && a.GetOperation() != admission.Update {
			return Judgement{}, nil
		}
		typed, err := toV1[networkingv1.NetworkPolicy](a.GetObject(), o)
		if err != nil {
			return Judgement{}, err
		}
		text := policy.Message(policy.JudgeNetworkPolicy(workload, &typed.Spec))
		if text == "" {
			return Judgement{}, nil
		}
		return Judgement{Warnings: []string{text}}, nil
	}
}
