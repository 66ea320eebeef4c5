package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/api/labels"
)

// poll is how often the demo looks again at what it waits for.
const poll = 20 * time.Millisecond

// deployment is the name of the demo's workload.
const deployment = "web"

// waitUntil waits for check to find nothing wrong. What was wrong last is part of
// the error when the time is over.
func waitUntil(ctx context.Context, check func(context.Context) error) error {
	last := fmt.Errorf("never looked")
	err := wait.PollUntilContextCancel(ctx, poll, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

// showNodes waits until both sides have the same nodes.
func (d *demo) showNodes(ctx context.Context) (string, error) {
	var host, virtual []corev1.Node
	err := waitUntil(ctx, func(ctx context.Context) error {
		var err error
		if host, err = listNodes(ctx, d.host.Client()); err != nil {
			return err
		}
		if virtual, err = listNodes(ctx, d.virtual); err != nil {
			return err
		}
		return compareNodes(host, virtual)
	})
	if err != nil {
		return "", err
	}
	return sideBySide("host nodes", formatRows(host, describeNode), "virtual nodes", formatRows(virtual, describeNode)), nil
}

func listNodes(ctx context.Context, client kubernetes.Interface) ([]corev1.Node, error) {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot list nodes: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	return list.Items, nil
}

// compareNodes compares what a tenant can use of a node.
func compareNodes(host, virtual []corev1.Node) error {
	if len(host) != len(virtual) {
		return fmt.Errorf("%d host nodes, %d virtual nodes", len(host), len(virtual))
	}
	for i := range host {
		h, v := host[i], virtual[i]
		same := h.Name == v.Name &&
			maps.Equal(h.Labels, v.Labels) &&
			equality.Semantic.DeepEqual(h.Spec.Taints, v.Spec.Taints) &&
			equality.Semantic.DeepEqual(h.Status.Capacity, v.Status.Capacity) &&
			equality.Semantic.DeepEqual(h.Status.Allocatable, v.Status.Allocatable) &&
			isNodeReady(h) == isNodeReady(v)
		if !same {
			return fmt.Errorf("virtual node %s is not as host node %s:\n%s\n%s", v.Name, h.Name,
				describeNode(v), describeNode(h))
		}
	}
	return nil
}

func isNodeReady(node corev1.Node) corev1.ConditionStatus {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status
		}
	}
	return corev1.ConditionUnknown
}

func describeNode(node corev1.Node) string {
	state := "NotReady"
	if isNodeReady(node) == corev1.ConditionTrue {
		state = "Ready"
	}
	return fmt.Sprintf("%s %s cpu=%s memory=%s %s", node.Name, state, node.Status.Allocatable.Cpu(),
		node.Status.Allocatable.Memory(), node.Labels[corev1.LabelTopologyZone])
}

// deploy creates the Deployment as soon as the virtual cluster takes it, and
// waits until it is available.
func (d *demo) deploy(ctx context.Context) (string, error) {
	deployments := d.virtual.AppsV1().Deployments(metav1.NamespaceDefault)
	if _, err := deployments.Create(ctx, newDeployment(), metav1.CreateOptions{}); err != nil {
		return "", fmt.Errorf("cannot create Deployment %s: %w", deployment, err)
	}
	return "", waitUntil(ctx, func(ctx context.Context) error {
		found, err := deployments.Get(ctx, deployment, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if found.Status.AvailableReplicas != replicas {
			return fmt.Errorf("%d of %d replicas are available", found.Status.AvailableReplicas, replicas)
		}
		return nil
	})
}

func newDeployment() *appsv1.Deployment {
	selector := map[string]string{"app": deployment}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: deployment},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(replicas)),
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: selector},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "registry.example.com/web:1.0"}}},
			},
		},
	}
}

// showPods waits until every virtual pod runs and has one host pod, which runs
// on the same node.
func (d *demo) showPods(ctx context.Context) (string, error) {
	var table string
	err := waitUntil(ctx, func(ctx context.Context) error {
		virtual, host, err := d.listPods(ctx)
		if err != nil {
			return err
		}
		if len(virtual) != replicas || len(host) != replicas {
			return fmt.Errorf("%d virtual pods and %d host pods of %d", len(virtual), len(host), replicas)
		}
		for i := range virtual {
			v, h := virtual[i], host[i]
			if v.Name != h.Annotations[labels.VirtualName] || v.Spec.NodeName != h.Spec.NodeName ||
				v.Status.Phase != corev1.PodRunning || h.Status.Phase != corev1.PodRunning {
				return fmt.Errorf("virtual pod %s and host pod %s differ", describePod(v), describePod(h))
			}
		}
		table = sideBySide("virtual pods in "+metav1.NamespaceDefault, formatRows(virtual, describePod),
			"host pods in "+namespace, formatRows(host, describePod))
		return nil
	})
	return table, err
}

// listPods lists the pods of the Deployment on both sides, in the same order.
func (d *demo) listPods(ctx context.Context) (virtual, host []corev1.Pod, err error) {
	v, err := d.virtual.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: "app=" + deployment})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list virtual pods: %w", err)
	}
	h, err := d.host.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list host pods: %w", err)
	}
	slices.SortFunc(v.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(h.Items, func(a, b corev1.Pod) int {
		return strings.Compare(a.Annotations[labels.VirtualName], b.Annotations[labels.VirtualName])
	})
	return v.Items, h.Items, nil
}

func describePod(pod corev1.Pod) string {
	return fmt.Sprintf("%s %s %s", pod.Name, pod.Status.Phase, pod.Spec.NodeName)
}

// deleteDeployment deletes the Deployment and waits until no pod of it is left anywhere.
func (d *demo) deleteDeployment(ctx context.Context) (string, error) {
	err := d.virtual.AppsV1().Deployments(metav1.NamespaceDefault).Delete(ctx, deployment, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", err
	}
	return "", waitUntil(ctx, func(ctx context.Context) error {
		virtual, host, err := d.listPods(ctx)
		if err != nil {
			return err
		}
		if len(virtual)+len(host) > 0 {
			return fmt.Errorf("%d virtual pods and %d host pods are left", len(virtual), len(host))
		}
		return nil
	})
}

func formatRows[T any](objects []T, describe func(T) string) []string {
	var all []string
	for _, object := range objects {
		all = append(all, describe(object))
	}
	return all
}

// sideBySide prints two lists of lines of fields next to each other.
func sideBySide(leftTitle string, left []string, rightTitle string, right []string) string {
	left, right = formatColumns(leftTitle, left), formatColumns(rightTitle, right)
	width := 0
	for _, line := range left {
		width = max(width, len(line))
	}
	var out strings.Builder
	for i := range max(len(left), len(right)) {
		var cells [2]string
		for side, lines := range [2][]string{left, right} {
			if i < len(lines) {
				cells[side] = lines[i]
			}
		}
		_, _ = fmt.Fprintf(&out, "          %-*s   %s\n", width, cells[0], cells[1])
	}
	return out.String()
}

// formatColumns returns a title above lines whose fields are in columns.
func formatColumns(title string, lines []string) []string {
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		_, _ = fmt.Fprintln(table, strings.Join(strings.Fields(line), "\t"))
	}
	_ = table.Flush()
	aligned := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	return append([]string{strings.ToUpper(title)}, aligned...)
}
