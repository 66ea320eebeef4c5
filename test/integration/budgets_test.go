package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestBudgets syncs a PodDisruptionBudget with a percentage. The host gets the number that
// the virtual cluster computes. The copy follows the scale, goes after the timeout of a
// drain of a host pod, and comes back after it.
func TestBudgets(t *testing.T) {
	r := newRelease(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
	if err := r.host.client.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.host.client.Delete(stopping, node) })
	r.startSome(t, r.allKinds(), "poddisruptionbudgets")
	set, budget := r.budgeted(node.Name)
	for _, object := range []client.Object{set, budget} {
		if err := r.virtual.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	r.keepsPods(t, budget.Name, 3)
	r.scale(t, set, 8)
	r.keepsPods(t, budget.Name, 6)
	r.addHostPod(t, node.Name, set.Spec.Template.Labels)

	cordoned := corev1.Taint{
		Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule,
		TimeAdded: &metav1.Time{Time: time.Now().Add(-2 * time.Hour)},
	}
	r.cordon(t, node.Name, true, cordoned)
	r.awaitNoCopy(t, r.hostKey(budget.Name), &policyv1.PodDisruptionBudget{})
	r.cordon(t, node.Name, false)
	r.scale(t, set, 4) // Without a change, the next look comes after half a minute.
	r.keepsPods(t, budget.Name, 3)
	if err := r.virtual.client.Delete(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	r.awaitNoCopy(t, r.hostKey(budget.Name), &policyv1.PodDisruptionBudget{})
}

// budgeted returns a set of four pods on a node, and the budget of them.
func (r *release) budgeted(node string) (*appsv1.ReplicaSet, *policyv1.PodDisruptionBudget) {
	meta := metav1.ObjectMeta{Namespace: r.namespace, Name: "web", Labels: map[string]string{"app": "web"}}
	selector := &metav1.LabelSelector{MatchLabels: meta.Labels}
	set := &appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{
		Replicas: new(int32(4)), Selector: selector,
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: meta.Labels},
			Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "none"}}},
		},
	}}
	return set, &policyv1.PodDisruptionBudget{ObjectMeta: meta, Spec: policyv1.PodDisruptionBudgetSpec{
		MaxUnavailable: new(intstr.FromString("25%")), Selector: selector,
	}}
}

// addHostPod creates a pod on a node of the host, as the copy of a pod with labels.
func (r *release) addHostPod(t *testing.T, node string, tenant map[string]string) {
	t.Helper()
	marks := map[string]string{labels.Cluster: r.cluster.UID, labels.Namespace: r.namespace}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "on-node", Labels: translate.SyncLabels(marks, tenant)},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "none"}}},
	}
	if err := r.host.client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

// scale changes the number of pods of a set.
func (r *release) scale(t *testing.T, set *appsv1.ReplicaSet, replicas int32) {
	t.Helper()
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas))
	if err := r.virtual.client.Patch(t.Context(), set, patch); err != nil {
		t.Fatal(err)
	}
}

// cordon sets whether a host node takes pods, with the taints that go with it.
func (r *release) cordon(t *testing.T, name string, unschedulable bool, taints ...corev1.Taint) {
	t.Helper()
	eventually(t, "change of the node", func(ctx context.Context) error {
		node := &corev1.Node{}
		if err := r.host.client.Get(ctx, client.ObjectKey{Name: name}, node); err != nil {
			return err
		}
		node.Spec.Unschedulable, node.Spec.Taints = unschedulable, taints
		return r.host.client.Update(ctx, node)
	})
}

// keepsPods waits until the host's copy of a budget keeps that number of pods.
func (r *release) keepsPods(t *testing.T, name string, healthy int) {
	t.Helper()
	eventually(t, fmt.Sprintf("budget of %d", healthy), func(ctx context.Context) error {
		host := &policyv1.PodDisruptionBudget{}
		if err := r.host.client.Get(ctx, r.hostKey(name), host); err != nil {
			return err
		}
		if host.Spec.MaxUnavailable != nil || host.Spec.MinAvailable == nil || host.Spec.MinAvailable.IntValue() != healthy {
			return fmt.Errorf("the host has %v", host.Spec)
		}
		return nil
	})
}
