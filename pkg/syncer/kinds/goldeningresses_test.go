package kinds

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// oneTaken is a host of which somebody else has one host name.
type oneTaken struct{}

func (oneTaken) Taken(_ context.Context, hosts []string, _ *networkingv1.Ingress) ([]string, error) {
	return slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { return host != "taken.example.com" }), nil
}

// ingressRules returns the rules of Ingresses of a case.
func ingressRules(t *testing.T, sync v1alpha1.Sync, policies json.RawMessage) *policy.Ingresses {
	t.Helper()
	settings := v1alpha1.Default()
	settings.Sync = sync
	if len(policies) > 0 {
		if err := yaml.UnmarshalStrict(policies, &settings.Policies); err != nil {
			t.Fatal(err)
		}
	}
	return policy.NewIngresses(settings)
}
