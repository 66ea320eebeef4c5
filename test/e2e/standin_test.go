//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

// standIn is a node of the host without a kubelet. It reports pods that are bound to it as ready,
// and removes them as soon as they are to end.
type standIn struct {
	name string
	halt func() // ends all that a kubelet would do
}

// startStandIn adds a node with the resources of another one to the host until the test ends.
func startStandIn(t *testing.T, like *corev1.Node) standIn {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	lives, end := context.WithCancel(ctx)
	var loops sync.WaitGroup
	s := standIn{name: "stand-in", halt: func() {
		end()
		loops.Wait()
	}}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: s.name, Labels: map[string]string{
			corev1.LabelHostname: s.name, corev1.LabelOSStable: like.Labels[corev1.LabelOSStable], corev1.LabelArchStable: like.Labels[corev1.LabelArchStable],
		}},
		Status: corev1.NodeStatus{
			Capacity: like.Status.Capacity, Allocatable: like.Status.Allocatable, NodeInfo: like.Status.NodeInfo,
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
				LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
			}},
		},
	}
	if _, err := hostClient.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	loops.Go(func() { _ = wait.PollUntilContextCancel(lives, 5*time.Second, true, s.renewLease) })
	loops.Go(func() { _ = wait.PollUntilContextCancel(lives, 200*time.Millisecond, true, s.runPods) })
	t.Cleanup(func() {
		_ = hostClient.CoreV1().Nodes().Delete(ctx, s.name, metav1.DeleteOptions{})
		for _, pod := range s.pods(ctx) {
			_ = hostClient.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		}
		s.halt()
		_ = hostClient.CoordinationV1().Leases(corev1.NamespaceNodeLease).Delete(ctx, s.name, metav1.DeleteOptions{})
	})
	return s
}

// lose cuts the node off. Its state is unknown at once, without the grace period of the host.
func (s standIn) lose(t *testing.T) {
	t.Helper()
	s.halt()
	mustRun(t, hostKubectl("patch", "node", s.name, "--subresource=status", "-p",
		`{"status":{"conditions":[{"type":"Ready","status":"Unknown","reason":"NodeStatusUnknown"}]}}`))
}

// renewLease records on the host that the node is alive.
func (s standIn) renewLease(ctx context.Context) (done bool, err error) {
	leases := hostClient.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = new(s.name), new(metav1.NowMicro())
	// Without a resource version, an update replaces whatever is there.
	if _, err := leases.Update(ctx, lease, metav1.UpdateOptions{}); err != nil {
		_, _ = leases.Create(ctx, lease, metav1.CreateOptions{})
	}
	// The host takes the node for lost if a renewal was late.
	ready := []byte(`{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady"}]}}`)
	_, _ = hostClient.CoreV1().Nodes().Patch(ctx, s.name, types.StrategicMergePatchType, ready, metav1.PatchOptions{}, "status")
	return false, nil
}

// pods returns the pods of the host that are bound to the node.
func (s standIn) pods(ctx context.Context) []corev1.Pod {
	pods, err := hostClient.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + s.name})
	if err != nil {
		return nil
	}
	return pods.Items
}

// runPods does for the pods of the node what a kubelet would. What fails is tried again.
func (s standIn) runPods(ctx context.Context) (done bool, err error) {
	for i, pod := range s.pods(ctx) {
		client := hostClient.CoreV1().Pods(pod.Namespace)
		switch {
		case pod.DeletionTimestamp != nil:
			_ = client.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		// The host takes the pods of a lost node for not ready.
		case pod.Status.Phase == corev1.PodPending, pod.Status.Phase == corev1.PodRunning && !isReady(&pod):
			pod.Status = readyStatus(&pod, fmt.Sprintf("192.0.2.%d", 100+i))
			_, _ = client.UpdateStatus(ctx, &pod, metav1.UpdateOptions{})
		}
	}
	return false, nil
}

// readyStatus returns the status of a pod whose containers are all ready.
func readyStatus(pod *corev1.Pod, address string) corev1.PodStatus {
	status := *pod.Status.DeepCopy()
	status.Phase, status.PodIP, status.PodIPs = corev1.PodRunning, address, []corev1.PodIP{{IP: address}}
	status.StartTime, status.ContainerStatuses = new(metav1.Now()), nil
	status.Conditions = slices.DeleteFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type != corev1.PodScheduled })
	for _, condition := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: condition, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
	}
	for _, container := range pod.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, ImageID: container.Image, ContainerID: "stand-in://" + container.Name,
			Ready: true, Started: new(true),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
		})
	}
	return status
}
