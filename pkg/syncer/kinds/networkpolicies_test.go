package kinds

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// peersOf returns the peers of a rule for a block of addresses.
func peersOf(cidr string) []networkingv1.NetworkPolicyPeer {
	return []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}}
}

// policyWorld is a NetworkPolicy between two API servers.
type policyWorld struct {
	options       Options
	virtual, host *shelf
}

// reconcile writes a virtual policy and reconciles it. It returns its copy.
func (w *policyWorld) reconcile(t *testing.T, policy *networkingv1.NetworkPolicy) (*networkingv1.NetworkPolicy, error) {
	t.Helper()
	w.virtual.putObject(policy)
	step := syncer.Step{
		Kind: syncer.Define("networkpolicies", NetworkPolicies(w.options)), Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()),
		Virtual: syncer.StepSide{Client: w.virtual, Objects: func() []client.Object { return w.virtual.ofType(policy) }},
		Host:    syncer.StepSide{Client: w.host, Objects: func() []client.Object { return w.host.ofType(policy) }},
	}
	key := client.ObjectKeyFromObject(policy)
	_, err := step.Reconcile(t.Context(), key)
	return w.host.ofKey(policy, step.HostKey(key)).(*networkingv1.NetworkPolicy), err
}

// exposedPorts returns a Service that exposes many ports.
func exposedPorts(many int32) *corev1.Service {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "web"}},
	}
	for i := range many {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Port: i + 1, TargetPort: intstr.FromInt32(i + 1)})
	}
	return service
}

// TestUnsupportedPolicyLosesRules checks that a NetworkPolicy that cannot be copied as it is does not keep what the
// operator has closed since.
func TestUnsupportedPolicyLosesRules(t *testing.T) {
	t.Parallel()
	const many = 300
	closed := peersOf("198.51.100.0/24")
	for name, tc := range map[string]struct {
		reason  string
		ingress int // rules of the changed policy
		keeps   bool
	}{
		"Size":    {reason: "a policy above the limit is not translated, so nothing of it stays", ingress: 1001},
		"Exposed": {reason: "without the ports of exposed Services, the rest is known", ingress: many, keeps: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := policyWorld{options: testOptions(), virtual: newShelf(syncer.Virtual, nil), host: newShelf(syncer.Host, nil)}
			workload := &w.options.NetworkPolicy.Workload
			workload.PublicEgress.Enabled = false
			workload.Egress = []networkingv1.NetworkPolicyEgressRule{{To: peersOf("192.0.2.0/24")}, {To: closed}}
			w.virtual.putObject(exposedPorts(many))
			policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "all", UID: "u1"}}
			policy.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
			policy.Spec.Ingress, policy.Spec.Egress = make([]networkingv1.NetworkPolicyIngressRule, 1), make([]networkingv1.NetworkPolicyEgressRule, 1)
			before, err := w.reconcile(t, policy)
			if err != nil {
				t.Fatal(err)
			}
			want := *before.Spec.DeepCopy() // Its types stay, so that lists without rules close.
			want.Ingress, want.Egress = nil, nil
			if tc.keeps {
				want.Ingress = before.Spec.Ingress[:1] // That of pods.
				want.Egress = slices.DeleteFunc(slices.Clone(before.Spec.Egress), func(r networkingv1.NetworkPolicyEgressRule) bool {
					return cmp.Equal(r.To, closed)
				})
			}

			workload.Egress = workload.Egress[:1]
			policy.Spec.Ingress = make([]networkingv1.NetworkPolicyIngressRule, tc.ingress)
			after, err := w.reconcile(t, policy)
			if _, ok := errors.AsType[*translate.UnsupportedError](err); !ok {
				t.Errorf("%s: the tenant must learn of it, got %v", tc.reason, err)
			}
			if diff := cmp.Diff(want, after.Spec); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if len(after.Spec.Egress) == len(before.Spec.Egress) {
				t.Errorf("%s: the copy still has the rules %v", tc.reason, after.Spec.Egress)
			}
		})
	}
}
