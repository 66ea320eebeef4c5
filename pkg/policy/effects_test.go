package policy_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

func TestEffects(t *testing.T) {
	t.Parallel()
	on := v1alpha1.Default(v1alpha1.Kind{Setting: "sync.toHost.networkPolicies", Enabled: true})
	off := v1alpha1.Default(v1alpha1.Kind{Setting: "sync.toHost.networkPolicies"})
	policies := schema.GroupResource{Group: "networking.k8s.io", Resource: "networkpolicies"}
	for _, c := range []struct {
		reason   string
		settings *v1alpha1.Config
		resource schema.GroupResource
		want     string
	}{
		{"a kind that is synced", on, policies, ""},
		{
			"a kind that is switched off", off, policies,
			"networkpolicies.networking.k8s.io: they are not synced to the host, so nothing enforces them. " +
				"The operator of the host can change this with sync.toHost.networkPolicies.enabled.",
		},
		{
			"a kind without a setting", on, schema.GroupResource{Resource: "persistentvolumes"},
			"persistentvolumes: the host provides volumes for claims alone, and mounts no other",
		},
		{"a kind of the virtual cluster itself", off, schema.GroupResource{Resource: "configmaps"}, ""},
		{"a kind that a tenant defines", off, schema.GroupResource{Group: "example.com", Resource: "widgets"}, ""},
	} {
		if got := policy.Effects(c.settings)[c.resource].Warning(c.resource); got != c.want {
			t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
		}
	}
}
