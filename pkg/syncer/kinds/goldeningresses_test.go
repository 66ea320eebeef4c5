package kinds

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
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

// TestClaimsStay changes one of two host names of an Ingress. Until the new one is looked up, the copy claims the
// other one alone, and it goes if somebody else has the new one.
func TestClaimsStay(t *testing.T) {
	t.Parallel()
	rules := ingressRules(t, v1alpha1.Sync{}, json.RawMessage(`{"ingresses": {"hosts": ["*"], "classes": ["public"]}}`))
	kind := Ingresses(Options{Ingresses: rules, HostNames: oneTaken{}})
	named := func(uid string, hosts ...string) *networkingv1.Ingress {
		made := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u-" + types.UID(uid)}}
		made.Spec.IngressClassName = new("public")
		for _, host := range hosts {
			made.Spec.Rules = append(made.Spec.Rules, networkingv1.IngressRule{Host: host})
		}
		return made
	}
	virtual, host := named("virtual", "b.example.com", "c.example.com"), named("host", "a.example.com", "b.example.com")
	host.Annotations = map[string]string{labels.ClaimedHosts: "a.example.com,b.example.com"}
	s := syncer.Scope{Context: t.Context(), Loaded: ingressState{isHosts: true, class: "public"}}
	for _, want := range []string{"b.example.com", "b.example.com,c.example.com"} {
		if err := kind.Down(s, virtual, host); err != nil {
			t.Fatal(err)
		}
		if got := host.Annotations[labels.ClaimedHosts]; got != want {
			t.Errorf("the copy claims %q, want %q", got, want)
		}
		s.Loaded = ingressState{isHosts: true, class: "public", taken: []string{"c.example.com"}}
		if kept, err := kind.Want(s, virtual, host); err != nil || kept != (want != "b.example.com") {
			t.Errorf("a copy that claims %s is kept: %v, %v", want, kept, err)
		}
		s.Loaded = ingressState{isHosts: true, class: "public"}
	}
}
