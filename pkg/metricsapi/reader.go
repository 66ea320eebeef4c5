package metricsapi

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/metrics/pkg/apis/metrics"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// anyVersion lets the virtual API server answer from its cache.
const anyVersion = "0"

// maxLists is how many lists of virtual objects are in memory at once. They come from within the process, so the memory
// of requests does not bound them.
const maxLists = 4

// reader joins virtual objects with what the host measured.
type reader struct {
	cluster translate.Cluster
	usage   *hostUsage
	virtual func() kubernetes.Interface
	lists   chan struct{} // has an element for each list in memory
}

// acquireList waits until a list may be read. The caller calls release once it has joined the list.
func (r *reader) acquireList(ctx context.Context) (release func(), err error) {
	select {
	case r.lists <- struct{}{}:
		return func() { <-r.lists }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// podUsage returns the usage of a virtual pod, or false if the host measured none of its
// containers.
func (r *reader) podUsage(pod *corev1.Pod, usage *usageByPod) (metrics.PodMetrics, bool) {
	host := translate.Hashed(r.cluster, types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
	measured, ok := usage.pods[host.Name]
	if !ok {
		return metrics.PodMetrics{}, false
	}
	containers := tenantContainers(pod, measured.Containers)
	return metrics.PodMetrics{
		ObjectMeta: metav1.ObjectMeta{
			Name: pod.Name, Namespace: pod.Namespace, Labels: pod.Labels, CreationTimestamp: metav1.NewTime(usage.at),
		},
		Timestamp:  measured.Timestamp,
		Window:     measured.Window,
		Containers: containers,
	}, len(containers) > 0
}

// tenantContainers returns the usage of the containers that are in the virtual pod.
func tenantContainers(pod *corev1.Pod, measured []v1beta1.ContainerMetrics) []metrics.ContainerMetrics {
	var own []metrics.ContainerMetrics
	for _, c := range measured {
		if hasContainer(pod, c.Name) {
			own = append(own, metrics.ContainerMetrics{Name: c.Name, Usage: c.Usage})
		}
	}
	return own
}

// hasContainer reports whether the pod has a container of that name, of any sort. Under the name of an ephemeral one, the
// host pod may have another: a sidecar, or one with which an operator debugs it. The syncer copies the status of the
// tenant's alone.
func hasContainer(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == name }) ||
		slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name }) ||
		slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name }) &&
			slices.ContainsFunc(pod.Status.EphemeralContainerStatuses, func(s corev1.ContainerStatus) bool {
				return s.Name == name && s.ContainerID != ""
			})
}

// usageByNode returns the usage of nodes: the sums of what [reader.podUsage] returns.
// Nodes without a measured pod are not in it.
func (r *reader) usageByNode(pods []corev1.Pod, usage *usageByPod) map[string]*metrics.NodeMetrics {
	nodes := map[string]*metrics.NodeMetrics{}
	for i := range pods {
		measured, ok := r.podUsage(&pods[i], usage)
		if !ok || pods[i].Spec.NodeName == "" {
			continue
		}
		node := nodes[pods[i].Spec.NodeName]
		if node == nil {
			node = &metrics.NodeMetrics{Usage: noUsage()}
			nodes[pods[i].Spec.NodeName] = node
		}
		for _, container := range measured.Containers {
			addUsage(node.Usage, container.Usage)
		}
		if measured.Timestamp.After(node.Timestamp.Time) {
			node.Timestamp, node.Window = measured.Timestamp, measured.Window
		}
	}
	return nodes
}

// listOptions returns the options of a list of virtual objects with the selectors of a
// request.
func listOptions(options *metainternalversion.ListOptions) metav1.ListOptions {
	list := metav1.ListOptions{ResourceVersion: anyVersion}
	if options == nil {
		return list
	}
	if options.LabelSelector != nil {
		list.LabelSelector = options.LabelSelector.String()
	}
	if options.FieldSelector != nil {
		list.FieldSelector = options.FieldSelector.String()
	}
	return list
}

// listPods returns virtual pods. An empty namespace is all of them.
func (r *reader) listPods(ctx context.Context, namespace string, options metav1.ListOptions) ([]corev1.Pod, error) {
	list, err := r.virtual().CoreV1().Pods(namespace).List(ctx, options)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}
