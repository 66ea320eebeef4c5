package integration

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// TestNetworkPolicies follows a policy of a tenant: the copy, the mark on the host pod, and
// namespaces that come later.
func TestNetworkPolicies(t *testing.T) {
	r := newRelease(t)
	r.startSome(t, r.allKinds(func(*kinds.Options) {}), "pods", "networkpolicies")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "web", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx:1"}}, TerminationGracePeriodSeconds: new(int64)},
	}
	if err := r.virtual.client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	isolated := func(want string) {
		t.Helper()
		eventually(t, "isolation "+want, func(ctx context.Context) error {
			host := &corev1.Pod{}
			if err := r.host.client.Get(ctx, r.hostKey(pod.Name), host); err != nil {
				return err
			}
			if host.Labels[labels.IsolatedIngress] != want || host.Labels[labels.IsolatedEgress] != "" || host.Labels[labels.Release] != r.cluster.Name {
				return fmt.Errorf("the host pod has %v", host.Labels)
			}
			return nil
		})
	}
	isolated("")
	policy := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "team"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
				{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": r.namespace}}},
			}}},
		},
	}
	if err := r.virtual.client.Create(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	admits := func(want ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("namespaces %v", want), func(ctx context.Context) error {
			host := &networkingv1.NetworkPolicy{}
			if err := r.host.client.Get(ctx, r.hostKey(policy.Name), host); err != nil {
				return err
			}
			if got := host.Spec.Ingress[0].From[0].PodSelector.MatchExpressions[0].Values; !slices.Equal(got, want) {
				return fmt.Errorf("the host admits %q", got)
			}
			return nil
		})
	}
	admits("")
	isolated("true")

	later := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace + "-later", Labels: map[string]string{"team": r.namespace}}}
	if err := r.virtual.client.Create(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.virtual.client.Delete(stopping, later) })
	admits(later.Name)
	before := later.DeepCopy()
	later.Labels["team"] = "other"
	if err := r.virtual.client.Patch(t.Context(), later, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	admits("")

	if err := r.virtual.client.Delete(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	isolated("")
}
