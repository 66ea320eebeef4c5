package admission_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiadmission "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/admission"
)

// TestWarnings checks what a tenant reads about an object that has no effect, or not all.
func TestWarnings(t *testing.T) {
	t.Parallel()
	on := v1alpha1.Kind{Setting: "sync.toHost.networkPolicies", Enabled: true}
	off := v1alpha1.Kind{Setting: "sync.toHost.networkPolicies"}
	policies := networkingv1.Resource("networkpolicies")
	private := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{
		{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8"}}}},
	}}}
	const notSynced = "networkpolicies.networking.k8s.io: they are not synced to the host, so nothing enforces them. " +
		"The operator of the host can change this with sync.toHost.networkPolicies.enabled."
	for _, c := range []struct {
		reason    string
		kind      v1alpha1.Kind
		resource  schema.GroupResource
		object    runtime.Object
		operation apiadmission.Operation
		want      []string
	}{
		{"a policy that is enforced", on, policies, &networkingv1.NetworkPolicy{}, apiadmission.Create, nil},
		{"a policy that nothing enforces", off, policies, &networkingv1.NetworkPolicy{}, apiadmission.Create, []string{notSynced}},
		{"once is enough", off, policies, &networkingv1.NetworkPolicy{}, apiadmission.Update, nil},
		{"a peer that stays closed", on, policies, private, apiadmission.Update, []string{
			`spec.egress[0].to[0].ipBlock: "10.0.0.0/8": is closed to this virtual cluster, apart from its own API and DNS. ` +
				"The operator of the host can change this with policies.networkPolicy.workload.publicEgress.",
		}},
		{"a kind that no setting syncs", on, networkingv1.Resource("ingresses"), &networkingv1.Ingress{}, apiadmission.Create, []string{
			"ingresses.networking.k8s.io: they are not synced to the host, so they have an effect only if a controller for them runs in this virtual cluster",
		}},
		{"a field of a pod", on, corev1.Resource("pods"), &corev1.Pod{Spec: corev1.PodSpec{PriorityClassName: "high"}}, apiadmission.Create, []string{
			`spec.priorityClassName: "high": has no effect, because the host schedules the pods, without their priorities. ` +
				"The operator of the host can change this with controlPlane.advanced.virtualScheduler.enabled.",
		}},
		{"a delete", on, networkingv1.Resource("ingresses"), nil, apiadmission.Delete, nil},
	} {
		check, ok := admission.PolicyChecks(v1alpha1.Default(c.kind), nil)[c.resource]
		if !ok {
			t.Errorf("%s: no check", c.reason)
			continue
		}
		a := apiadmission.NewAttributesRecord(c.object, nil, schema.GroupVersionKind{}, "a", "b",
			c.resource.WithVersion("v1"), "", c.operation, &metav1.CreateOptions{}, false, &user.DefaultInfo{})
		got, err := check(t.Context(), a, nil)
		if err != nil || len(got.Violations) > 0 || !slices.Equal(got.Warnings, c.want) {
			t.Errorf("%s: got %q, %v, want %q", c.reason, got.Warnings, err, c.want)
		}
	}
}
