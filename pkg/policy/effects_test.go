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
	ingresses := schema.GroupResource{Group: "networking.k8s.io", Resource: "ingresses"}
	const alone = "ingresses.networking.k8s.io: they are not synced to the host, so they have an effect only if a controller for them runs in this virtual cluster"
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
		{"a resource that no kind copies", on, ingresses, alone},
		{"a new kind for it, and nothing else", v1alpha1.Default(v1alpha1.Kind{Setting: "sync.toHost.ingresses", Enabled: true}), ingresses, ""},
		{
			"the new kind, switched off", v1alpha1.Default(v1alpha1.Kind{Setting: "sync.toHost.ingresses"}), ingresses,
			alone + ". The operator of the host can change this with sync.toHost.ingresses.enabled.",
		},
		{
			"a resource that the kind of another one copies", v1alpha1.Default(v1alpha1.Kind{Setting: "sync.toHost.endpointSlices"}),
			schema.GroupResource{Resource: "endpoints"}, "endpoints: they are not synced to the host, so Services without a selector lead nowhere. " +
				"The operator of the host can change this with sync.toHost.endpointSlices.enabled.",
		},
		{"a kind of the virtual cluster itself", off, schema.GroupResource{Resource: "configmaps"}, ""},
		{"a kind that a tenant defines", off, schema.GroupResource{Group: "example.com", Resource: "widgets"}, ""},
	} {
		if got := policy.Effects(c.settings)[c.resource].Warning(c.resource); got != c.want {
			t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
		}
	}
}
