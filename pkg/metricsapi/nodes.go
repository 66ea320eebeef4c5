package metricsapi

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/metrics/pkg/apis/metrics"
)

// nodeStorage serves the usage of nodes by the tenant's own pods.
type nodeStorage struct{ *reader }

// New implements rest.Storage.
func (*nodeStorage) New() runtime.Object { return &metrics.NodeMetrics{} }

// NewList implements rest.Lister.
func (*nodeStorage) NewList() runtime.Object { return &metrics.NodeMetricsList{} }

// Destroy implements rest.Storage.
func (*nodeStorage) Destroy() {}

// Kind implements rest.KindProvider.
func (*nodeStorage) Kind() string { return "NodeMetrics" }

// GetSingularName implements rest.SingularNameProvider.
func (*nodeStorage) GetSingularName() string { return "" }

// NamespaceScoped implements rest.Scoper.
func (*nodeStorage) NamespaceScoped() bool { return false }

// List implements rest.Lister. A node without a measured pod of the tenant has no usage,
// and is listed.
func (s *nodeStorage) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	release, err := s.acquireList(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	nodes, err := s.virtual().CoreV1().Nodes().List(ctx, listOptions(options))
	if err != nil {
		return nil, err
	}
	list := &metrics.NodeMetricsList{Items: []metrics.NodeMetrics{}}
	if len(nodes.Items) == 0 {
		return list, nil
	}
	byNode, usage, err := s.read(ctx, metav1.ListOptions{ResourceVersion: anyVersion})
	if err != nil {
		return nil, err
	}
	for i := range nodes.Items {
		list.Items = append(list.Items, *nodeUsage(&nodes.Items[i], byNode, usage))
	}
	return list, nil
}

// Get implements rest.Getter.
func (s *nodeStorage) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	node, err := s.virtual().CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{ResourceVersion: anyVersion})
	if err != nil {
		return nil, err
	}
	release, err := s.acquireList(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	byNode, usage, err := s.read(ctx, metav1.ListOptions{ResourceVersion: anyVersion, FieldSelector: "spec.nodeName=" + name})
	if err != nil {
		return nil, err
	}
	return nodeUsage(node, byNode, usage), nil
}

// read returns the usage of all pods, and its sums by node for the pods that options select.
func (s *nodeStorage) read(ctx context.Context, options metav1.ListOptions) (map[string]*metrics.NodeMetrics, *usageByPod, error) {
	usage, err := s.usage.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	pods, err := s.listPods(ctx, metav1.NamespaceAll, options)
	if err != nil {
		return nil, nil, err
	}
	return s.usageByNode(pods, usage), usage, nil
}

// nodeUsage returns the usage of a virtual node.
func nodeUsage(node *corev1.Node, byNode map[string]*metrics.NodeMetrics, usage *usageByPod) *metrics.NodeMetrics {
	measured := byNode[node.Name]
	if measured == nil {
		measured = &metrics.NodeMetrics{Usage: noUsage(), Timestamp: metav1.NewTime(usage.at)}
	}
	measured.ObjectMeta = metav1.ObjectMeta{Name: node.Name, Labels: node.Labels, CreationTimestamp: metav1.NewTime(usage.at)}
	return measured
}

// ConvertToTable implements rest.TableConvertor.
func (*nodeStorage) ConvertToTable(_ context.Context, object, _ runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	switch t := object.(type) {
	case *metrics.NodeMetrics:
		addRow(table, nodeRow(t))
	case *metrics.NodeMetricsList:
		for i := range t.Items {
			addRow(table, nodeRow(&t.Items[i]))
		}
	}
	return table, nil
}

// nodeRow returns the row of a node.
func nodeRow(node *metrics.NodeMetrics) row {
	return row{name: node.Name, usage: node.Usage, window: node.Window, object: node}
}
