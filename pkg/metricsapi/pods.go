package metricsapi

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/metrics/pkg/apis/metrics"
)

// podStorage serves the usage of pods.
type podStorage struct{ *reader }

// New implements rest.Storage.
func (*podStorage) New() runtime.Object { return &metrics.PodMetrics{} }

// NewList implements rest.Lister.
func (*podStorage) NewList() runtime.Object { return &metrics.PodMetricsList{} }

// Destroy implements rest.Storage.
func (*podStorage) Destroy() {}

// Kind implements rest.KindProvider.
func (*podStorage) Kind() string { return "PodMetrics" }

// GetSingularName implements rest.SingularNameProvider. It is empty, as upstream's is:
// "pod" means the pods of the core.
func (*podStorage) GetSingularName() string { return "" }

// NamespaceScoped implements rest.Scoper.
func (*podStorage) NamespaceScoped() bool { return true }

// List implements rest.Lister. Pods that the host has not measured are left out.
func (s *podStorage) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	usage, err := s.usage.get(ctx)
	if err != nil {
		return nil, err
	}
	release, err := s.acquireList(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	pods, err := s.listPods(ctx, genericapirequest.NamespaceValue(ctx), listOptions(options))
	if err != nil {
		return nil, err
	}
	list := &metrics.PodMetricsList{Items: []metrics.PodMetrics{}}
	for i := range pods {
		if measured, ok := s.podUsage(&pods[i], usage); ok {
			list.Items = append(list.Items, measured)
		}
	}
	return list, nil
}

// Get implements rest.Getter.
func (s *podStorage) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	namespace := genericapirequest.NamespaceValue(ctx)
	pod, err := s.virtual().CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{ResourceVersion: anyVersion})
	if err != nil {
		return nil, err
	}
	usage, err := s.usage.get(ctx)
	if err != nil {
		return nil, err
	}
	measured, ok := s.podUsage(pod, usage)
	if !ok {
		return nil, apierrors.NewNotFound(metrics.Resource("podmetrics"), namespace+"/"+name)
	}
	return &measured, nil
}

// ConvertToTable implements rest.TableConvertor.
func (*podStorage) ConvertToTable(_ context.Context, object, _ runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	switch t := object.(type) {
	case *metrics.PodMetrics:
		addRow(table, podRow(t))
	case *metrics.PodMetricsList:
		for i := range t.Items {
			addRow(table, podRow(&t.Items[i]))
		}
	}
	return table, nil
}

// podRow returns the row of a pod, with the sum of its containers.
func podRow(pod *metrics.PodMetrics) row {
	total := noUsage()
	for _, c := range pod.Containers {
		addUsage(total, c.Usage)
	}
	return row{name: pod.Name, usage: total, window: pod.Window, object: pod}
}
