package scheduler

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// upgrade changes the settings, stops the server and starts it again.
func (w *switched) upgrade(t *testing.T, values map[string]any) {
	t.Helper()
	if err := w.release.Upgrade(t.Context(), values); err != nil {
		t.Fatal(err)
	}
	w.server.Stop()
	w.start(t.Context(), t)
}

// make creates a pod and remembers which one.
func (w *switched) make(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	w.uids[pod.Name] = w.create(t, pod).UID
}

// remake deletes a pod and creates it again.
func (w *switched) remake(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	if err := w.client.CoreV1().Pods(metav1.NamespaceDefault).Delete(t.Context(), pod.Name, now); err != nil {
		t.Fatal(err)
	}
	eventually(t, pod.Name+" is gone", func(ctx context.Context) error {
		if _, err := w.get(ctx, pod.Name); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is still there: %w", err)
		}
		return w.noHostPod(ctx, pod.Name)
	})
	w.make(t, pod)
}

// bindAsTenant creates a pod and binds it as a scheduler of the tenant's own does.
func (w *switched) bindAsTenant(t *testing.T, name, node string) {
	t.Helper()
	pod := newPod(name, string(gpu), "1")
	pod.Spec.SchedulerName = "mine"
	w.make(t, pod)
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	if err := w.client.CoreV1().Pods(metav1.NamespaceDefault).Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// occupy takes the GPUs of a host node, and vacate gives them back.
func (w *switched) occupy(t *testing.T, node string) {
	t.Helper()
	pod := newPod("occupant", string(gpu), "2")
	pod.Spec.NodeName = node
	if _, err := w.host.Client().CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (w *switched) vacate(t *testing.T) {
	t.Helper()
	err := w.host.Client().CoreV1().Pods(metav1.NamespaceDefault).Delete(t.Context(), "occupant", metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	if err != nil {
		t.Fatal(err)
	}
}

// addSilent adds the node whose kubelet does nothing, for pods that tolerate it.
func (w *switched) addSilent(t *testing.T) {
	t.Helper()
	nodes := w.host.Client().CoreV1().Nodes()
	like, err := nodes.Get(t.Context(), w.host.Nodes()[0], metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: silent, Labels: maps.Clone(like.Labels)}, Status: like.Status}
	node.Labels[corev1.LabelHostname] = silent
	node.Spec.Taints = []corev1.Taint{{Key: silent, Effect: corev1.TaintEffectNoSchedule}}
	if _, err := nodes.Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the virtual cluster has the node", func(ctx context.Context) error {
		_, err := w.client.CoreV1().Nodes().Get(ctx, silent, metav1.GetOptions{})
		return err
	})
}

// recordHostPods remembers the host pods of virtual pods that have a node.
func (w *switched) recordHostPods(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		pod, err := w.hostPod(t.Context(), name)
		if err != nil || pod.Spec.NodeName == "" {
			t.Fatalf("%s has no node on the host: %v", name, err)
		}
		w.stays[name] = pod.UID
	}
}

// unmoved holds that no pod that has ever had a node was touched, on either side.
func (w *switched) unmoved(t *testing.T) {
	t.Helper()
	for name, uid := range w.stays {
		host, err := w.hostPod(t.Context(), name)
		if err != nil || host.UID != uid || host.DeletionTimestamp != nil || name != "starting" && host.Status.Phase != corev1.PodRunning {
			t.Errorf("the host pod of %s is not what it was: %v", name, err)
			continue
		}
		pod, err := w.get(t.Context(), name)
		if err != nil || pod.UID != w.uids[name] || pod.Spec.NodeName != host.Spec.NodeName || pod.Status.Phase != host.Status.Phase {
			t.Errorf("%s is %s on %q, its host pod %s on %q: %v", name, pod.Status.Phase, pod.Spec.NodeName, host.Status.Phase, host.Spec.NodeName, err)
		}
	}
}

// hostPod returns the host pod of a virtual pod.
func (w *switched) hostPod(ctx context.Context, name string) (*corev1.Pod, error) {
	pods, err := w.ours(ctx)
	if err != nil {
		return nil, err
	}
	for i := range pods {
		if pods[i].Annotations[labels.VirtualName] == name {
			return &pods[i], nil
		}
	}
	return nil, fmt.Errorf("%s has no host pod", name)
}

func (w *switched) noHostPod(ctx context.Context, name string) error {
	if _, err := w.hostPod(ctx, name); err == nil {
		return fmt.Errorf("%s has a host pod", name)
	}
	_, err := w.ours(ctx)
	return err
}

// notScheduledByHost returns an error if the host's scheduler may give the pod a node. A host
// pod of another scheduler only shows autoscalers of the host that a node is missing. It exists
// ten seconds after the pod was refused, whoever refused it.
func (w *switched) notScheduledByHost(ctx context.Context, name string) error {
	pods, err := w.ours(ctx)
	for i := range pods {
		if pods[i].Annotations[labels.VirtualName] == name && pods[i].Spec.SchedulerName == corev1.DefaultSchedulerName {
			return fmt.Errorf("%s has host pod %s with %s", name, pods[i].Name, pods[i].Spec.SchedulerName)
		}
	}
	return err
}

// waitsOn returns an error unless a pod is on the node on both sides and does not run.
func (w *switched) waitsOn(ctx context.Context, name, node string) error {
	host, err := w.hostPod(ctx, name)
	if err != nil {
		return err
	}
	pod, err := w.get(ctx, name)
	if err == nil && (host.Spec.NodeName != node || pod.Spec.NodeName != node || pod.Status.Phase != corev1.PodPending) {
		err = fmt.Errorf("%s on %q, its host pod on %q", pod.Status.Phase, pod.Spec.NodeName, host.Spec.NodeName)
	}
	return err
}

// refusedByHost returns an error unless a pod waits at the host, pinned to the place, and
// the tenant sees why.
func (w *switched) refusedByHost(ctx context.Context, name, place string) error {
	host, err := w.hostPod(ctx, name)
	if err != nil {
		return err
	}
	pod, err := w.get(ctx, name)
	if err != nil {
		return err
	}
	if host.Spec.NodeName != "" || translate.PinnedNode(host) != place || pod.UID != w.uids[name] ||
		!strings.Contains(refusal(host), "Insufficient") || !strings.Contains(refusal(pod), "Insufficient") {
		return fmt.Errorf("on %q, held to %q, %v, %v", host.Spec.NodeName, translate.PinnedNode(host), host.Status.Conditions, pod.Status.Conditions)
	}
	return nil
}

// offers returns an error unless the tenant sees that much CPU on a node.
func (w *switched) offers(ctx context.Context, node, want string) error {
	found, err := w.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err == nil && found.Status.Allocatable.Cpu().Cmp(resource.MustParse(want)) != 0 {
		err = fmt.Errorf("%s offers %s", node, found.Status.Allocatable.Cpu())
	}
	return err
}

// cordoning lets the tenant cordon the second node. That counts if there is a scheduler
// for it and is denied if not.
func (w *switched) cordoning(t *testing.T, counts bool) {
	t.Helper()
	_, err := w.client.CoreV1().Nodes().Patch(t.Context(), w.host.Nodes()[1], types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{})
	if counts && err != nil || !counts && !apierrors.IsForbidden(err) {
		t.Errorf("the tenant cordons a node: %v", err)
	}
}

// mayReadPods holds whether the server has the right to read the pods of the host.
func (w *switched) mayReadPods(t *testing.T, want bool) {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               "system:serviceaccount:" + w.name + ":" + w.release.Name(),
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods"},
	}}
	eventually(t, fmt.Sprintf("the right to read the host's pods is %v", want), func(ctx context.Context) error {
		got, err := w.host.Client().AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err == nil && got.Status.Allowed != want {
			err = fmt.Errorf("it is %v", got.Status.Allowed)
		}
		return err
	})
}
