package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sublet-dev/sublet/api/labels"
)

// profiles has the default scheduler and one that fills nodes up.
const profiles = `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
  - schedulerName: default-scheduler
  - schedulerName: packing
    pluginConfig:
      - name: NodeResourcesFit
        args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}}
    plugins: {score: {disabled: [{name: PodTopologySpread}, {name: NodeResourcesBalancedAllocation}, {name: ImageLocality}]}}
`

// TestScheduling holds what a tenant expects of a scheduler, on four nodes in three
// zones.
func TestScheduling(t *testing.T) {
	t.Parallel()
	host := newHost(t, 4)
	s := open(t, host, "features", map[string]any{"config": profiles})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *shop)
	}{
		{"daemon set", daemonSet}, {"node selector", nodeSelector}, {"affinity", affinity}, {"spread", spread},
		{"taint", taint}, {"evicting taint", evictingTaint}, {"gate", gated}, {"node name", nodeName}, {"packing", packing}, {"claim", claim},
		{"resource of the tenant", tenantResource}, {"preemption", preemption}, {"drain", drain},
	} {
		// One after the other: each needs to know what the nodes hold.
		t.Run(test.name, func(t *testing.T) {
			defer s.clear(t)
			test.run(t, s)
			eventually(t, "both sides agree", func(ctx context.Context) error {
				_, err := s.agree(ctx)
				return err
			})
		})
	}
}

// clear deletes all pods and what makes them.
func (s *shop) clear(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	_ = s.client.AppsV1().DaemonSets(metav1.NamespaceDefault).DeleteCollection(ctx, now, metav1.ListOptions{})
	_ = s.client.AppsV1().Deployments(metav1.NamespaceDefault).DeleteCollection(ctx, now, metav1.ListOptions{})
	_ = s.client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault).DeleteCollection(ctx, now, metav1.ListOptions{})
	eventually(t, "nothing is left", func(ctx context.Context) error {
		_ = s.client.CoreV1().Pods(metav1.NamespaceDefault).DeleteCollection(ctx, now, metav1.ListOptions{})
		left, err := s.host.Client().CoreV1().Pods(s.name).List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
		if err == nil && len(left.Items) > 0 {
			err = fmt.Errorf("%d host pods", len(left.Items))
		}
		return err
	})
}

func (s *shop) patchNode(t *testing.T, node, patch string, subresources ...string) {
	t.Helper()
	_, err := s.client.CoreV1().Nodes().Patch(t.Context(), node, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...)
	if err != nil {
		t.Fatal(err)
	}
}

func template(pod *corev1.Pod) corev1.PodTemplateSpec {
	pod.Spec.TerminationGracePeriodSeconds = new(int64)
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec}
}

func selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": "test"}}
}

// nodesOf waits until n pods run and returns how many are on each node.
func (s *shop) nodesOf(t *testing.T, n int) map[string]int {
	t.Helper()
	var count map[string]int
	eventually(t, "all pods run", func(ctx context.Context) error {
		pods, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		count = map[string]int{}
		running := 0
		for _, pod := range pods.Items {
			if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
				running++
				count[pod.Spec.NodeName]++
			}
		}
		if running != n {
			return fmt.Errorf("%d of %d pods run, on %v", running, n, count)
		}
		return nil
	})
	return count
}

func daemonSet(t *testing.T, s *shop) {
	set := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		Spec:       appsv1.DaemonSetSpec{Selector: selector(), Template: template(newPod("", "cpu", "100m"))},
	}
	if _, err := s.client.AppsV1().DaemonSets(metav1.NamespaceDefault).Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if nodes := s.nodesOf(t, 4); len(nodes) != 4 {
		t.Errorf("the agents are on %v", nodes)
	}
}

// nodeSelector selects by a label that only the virtual node has.
func nodeSelector(t *testing.T, s *shop) {
	node := s.host.Nodes()[2]
	s.patchNode(t, node, `{"metadata":{"labels":{"disk":"fast"}}}`)
	pod := newPod("selected")
	pod.Spec.NodeSelector = map[string]string{"disk": "fast"}
	s.create(t, pod)
	if got := s.running(t, "selected"); got.Spec.NodeName != node {
		t.Errorf("on %s, want %s", got.Spec.NodeName, node)
	}
}

func affinity(t *testing.T, s *shop) {
	for _, name := range []string{"a-0", "a-1", "a-2", "a-3"} {
		pod := newPod(name)
		pod.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: corev1.LabelHostname, LabelSelector: selector()}},
		}}
		s.create(t, pod)
	}
	if nodes := s.nodesOf(t, 4); len(nodes) != 4 {
		t.Errorf("pods that avoid each other are on %v", nodes)
	}
	friend := newPod("friend")
	friend.Labels = nil
	friend.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: corev1.LabelHostname, LabelSelector: selector()}},
	}}
	s.create(t, friend)
	s.running(t, "friend")
}

func spread(t *testing.T, s *shop) {
	for i := range 6 {
		pod := newPod(fmt.Sprintf("spread-%d", i))
		pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: selector(),
		}}
		s.create(t, pod)
	}
	nodes, host := s.nodesOf(t, 6), s.host.Nodes()
	// The first and the last node are in one zone.
	if nodes[host[0]]+nodes[host[3]] != 2 || nodes[host[1]] != 2 || nodes[host[2]] != 2 {
		t.Errorf("spread over %v", nodes)
	}
}

// taint keeps pods off three nodes by taints and a cordon of the tenant's own.
func taint(t *testing.T, s *shop) {
	nodes := s.host.Nodes()
	s.patchNode(t, nodes[0], `{"spec":{"taints":[{"key":"mine","effect":"NoSchedule"}]}}`)
	s.patchNode(t, nodes[1], `{"spec":{"unschedulable":true}}`)
	defer s.patchNode(t, nodes[0], `{"spec":{"taints":null}}`)
	defer s.patchNode(t, nodes[1], `{"spec":{"unschedulable":false}}`)
	s.awaitClosed(t, nodes[0])
	s.awaitClosed(t, nodes[1])
	for i := range 4 {
		s.create(t, newPod(fmt.Sprintf("t-%d", i), "cpu", "1"))
	}
	if on := s.nodesOf(t, 4); on[nodes[0]]+on[nodes[1]] != 0 {
		t.Errorf("pods are on %v", on)
	}
	tolerant := newPod("tolerant")
	tolerant.Spec.Tolerations = []corev1.Toleration{{Key: "mine", Operator: corev1.TolerationOpExists}}
	tolerant.Spec.NodeSelector = map[string]string{corev1.LabelHostname: nodes[0]}
	s.create(t, tolerant)
	s.running(t, "tolerant")
}

// awaitClosed waits until the virtual scheduler knows that a node takes no pods. It reads
// nodes from a cache, which may be behind that of pods.
func (s *shop) awaitClosed(t *testing.T, node string) {
	t.Helper()
	pods, tries := s.client.CoreV1().Pods(metav1.NamespaceDefault), 0
	eventually(t, node+" is closed to the scheduler", func(ctx context.Context) error {
		tries++
		probe := newPod(fmt.Sprintf("probe-%s-%d", node, tries))
		probe.Labels, probe.Spec.NodeSelector = nil, map[string]string{corev1.LabelHostname: node}
		if _, err := pods.Create(ctx, probe, metav1.CreateOptions{}); err != nil {
			return err
		}
		defer func() { _ = pods.Delete(ctx, probe.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}) }()
		eventually(t, "the scheduler has tried "+probe.Name, func(ctx context.Context) error {
			var err error
			if probe, err = s.get(ctx, probe.Name); err == nil && probe.Spec.NodeName == "" && refusal(probe) == "" {
				err = fmt.Errorf("conditions %v", probe.Status.Conditions)
			}
			return err
		})
		if probe.Spec.NodeName != "" {
			return errors.New("it took a pod")
		}
		// Any other reason proves nothing about a cordon or a taint.
		if why := refusal(probe); !strings.Contains(why, "unschedulable") && !strings.Contains(why, "untolerated taint") {
			return errors.New(why)
		}
		return nil
	})
}

func gated(t *testing.T, s *shop) {
	pod := newPod("gated")
	pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
	s.create(t, pod)
	s.create(t, newPod("free"))
	s.running(t, "free")
	if pod, err := s.get(t.Context(), "gated"); err != nil || pod.Spec.NodeName != "" {
		t.Fatalf("%v, on %s", err, pod.Spec.NodeName)
	}
	_, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Patch(t.Context(), "gated", types.JSONPatchType,
		[]byte(`[{"op":"remove","path":"/spec/schedulingGates"}]`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.running(t, "gated")
}

// nodeName lets the tenant choose the node. The host still decides.
func nodeName(t *testing.T, s *shop) {
	node := s.host.Nodes()[1]
	for _, name := range []string{"chosen", "too-much"} {
		pod := newPod(name, "cpu", "5")
		pod.Spec.NodeName = node
		s.create(t, pod)
		if name == "chosen" {
			s.running(t, name)
		}
	}
	eventually(t, "the host refuses what does not fit", func(ctx context.Context) error {
		pod, err := s.get(ctx, "too-much")
		if err != nil {
			return err
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
				return nil
			}
		}
		return fmt.Errorf("%s, %v", pod.Status.Phase, pod.Status.Conditions)
	})
	if err := overcommitted(t.Context(), s.host); err != nil {
		t.Error(err)
	}
	_ = s.client.CoreV1().Pods(metav1.NamespaceDefault).Delete(t.Context(), "too-much", metav1.DeleteOptions{})
}

// packing schedules pods by the second profile.
func packing(t *testing.T, s *shop) {
	for i := range 4 {
		pod := newPod(fmt.Sprintf("p-%d", i), "cpu", "1")
		pod.Spec.SchedulerName = "packing"
		s.create(t, pod)
		s.running(t, pod.Name)
	}
	if nodes := s.nodesOf(t, 4); len(nodes) != 1 {
		t.Errorf("packed onto %v", nodes)
	}
}

// tenantResource asks for what the tenant has added to a node and the host does not
// have.
func tenantResource(t *testing.T, s *shop) {
	const name = "example.com/licence"
	node := s.host.Nodes()[3]
	s.patchNode(t, node, `{"status":{"capacity":{"`+name+`":"1"},"allocatable":{"`+name+`":"1"}}}`, "status")
	for _, pod := range []*corev1.Pod{newPod("first"), newPod("second")} {
		pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{name: resource.MustParse("1")}
		s.create(t, pod)
		if pod.Name == "first" {
			if got := s.running(t, "first"); got.Spec.NodeName != node {
				t.Errorf("on %s, want %s", got.Spec.NodeName, node)
			}
		}
	}
	eventually(t, "the second one finds none left", func(ctx context.Context) error {
		pod, err := s.get(ctx, "second")
		if err == nil && (len(pod.Status.Conditions) == 0 || pod.Spec.NodeName != "") {
			err = fmt.Errorf("on %q, %v", pod.Spec.NodeName, pod.Status.Conditions)
		}
		return err
	})
}

// drain moves the pods of a node, as fast as their budget allows.
func drain(t *testing.T, s *shop) {
	ctx := t.Context()
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(4)), Selector: selector(), Template: template(newPod("", "cpu", "1"))},
	}
	if _, err := s.client.AppsV1().Deployments(metav1.NamespaceDefault).Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: selector(), MinAvailable: new(intstr.FromInt32(3))},
	}
	if _, err := s.client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault).Create(ctx, budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var node string
	for name := range s.nodesOf(t, 4) {
		node = name
	}
	s.patchNode(t, node, `{"spec":{"unschedulable":true}}`)
	s.awaitClosed(t, node)
	eventually(t, "the node is empty", func(ctx context.Context) error {
		pods, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
		if err != nil || len(pods.Items) == 0 {
			return err
		}
		eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pods.Items[0].Name, Namespace: metav1.NamespaceDefault}}
		err = s.client.PolicyV1().Evictions(metav1.NamespaceDefault).Evict(ctx, eviction)
		if err != nil && !apierrors.IsTooManyRequests(err) && !apierrors.IsNotFound(err) && !apierrors.IsInternalError(err) {
			return err
		}
		return fmt.Errorf("%d pods are left", len(pods.Items))
	})
	if on := s.nodesOf(t, 4); on[node] != 0 {
		t.Errorf("after the drain of %s the pods are on %v", node, on)
	}
	hostNode, err := s.host.Client().CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil || hostNode.Spec.Unschedulable {
		t.Errorf("the host's node is touched: %v, unschedulable %v", err, hostNode.Spec.Unschedulable)
	}
	s.patchNode(t, node, `{"spec":{"unschedulable":false}}`)
}
