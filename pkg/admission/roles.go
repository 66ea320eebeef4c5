package admission

import (
	"strconv"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/pkg/policy"
)

// checkRules denies a role with very many permissions. An update may leave them as they are.
func checkRules(a admission.Attributes, o admission.ObjectInterfaces) ([]policy.Violation, error) {
	count, err := countPermissions(a, a.GetObject(), o)
	if err != nil || count <= policy.MaxPermissions {
		return nil, err
	}
	if a.GetOldObject() != nil {
		before, err := countPermissions(a, a.GetOldObject(), o)
		if err != nil || count <= before {
			return nil, err
		}
	}
	return []policy.Violation{{
		Field: "rules", Value: strconv.FormatFloat(count, 'g', 3, 64) + " permissions",
		Detail: "the control plane has each combination of group, resource, verb and name in memory; use several roles with at most " +
			strconv.Itoa(policy.MaxPermissions) + " each, or *",
	}}, nil
}

// countPermissions returns how many permissions the rules of a role have. It is 0 for a binding.
func countPermissions(a admission.Attributes, object runtime.Object, o admission.ObjectInterfaces) (float64, error) {
	switch a.GetResource().Resource {
	case "clusterroles":
		role, err := toV1[rbacv1.ClusterRole](object, o)
		if err != nil {
			return 0, err
		}
		return policy.CountPermissions(role.Rules), nil
	case "roles":
		role, err := toV1[rbacv1.Role](object, o)
		if err != nil {
			return 0, err
		}
		return policy.CountPermissions(role.Rules), nil
	}
	return 0, nil
}
