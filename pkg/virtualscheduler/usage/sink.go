package usage

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	resourcehelper "k8s.io/component-helpers/resource"
)

// sink takes what a watch of pods shows and keeps no pod.
type sink struct{ usage *Usage }

var _ cache.TransformingStore = sink{}

// stripped is what is left of a pod while a list of all of them comes in.
type stripped struct {
	metav1.PartialObjectMetadata
	share share
}

// DeepCopyObject is part of runtime.Object. Nobody changes one.
func (s *stripped) DeepCopyObject() runtime.Object { return s }

// GetObjectKind is part of runtime.Object.
func (s *stripped) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// Transformer is part of cache.TransformingStore.
func (s sink) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		pod, is := o.(*corev1.Pod)
		if !is {
			return o, nil
		}
		small := &stripped{share: shareOf(pod)}
		small.Namespace, small.Name = pod.Namespace, pod.Name
		return small, nil
	}
}

// Add is part of cache.ReflectorStore.
func (s sink) Add(o any) error {
	key, next, err := keyed(o)
	if err != nil {
		return err
	}
	s.usage.set(key, next)
	return nil
}

// Update is part of cache.ReflectorStore.
func (s sink) Update(o any) error { return s.Add(o) }

// Delete is part of cache.ReflectorStore.
func (s sink) Delete(o any) error {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o)
	if err != nil {
		return err
	}
	s.usage.drop(key)
	return nil
}

// Replace is part of cache.ReflectorStore.
func (s sink) Replace(list []any, _ string) error {
	all := make(map[string]share, len(list))
	for _, o := range list {
		key, next, err := keyed(o)
		if err != nil {
			return err
		}
		all[key] = next
	}
	s.usage.replace(all)
	return nil
}

// Resync is part of cache.ReflectorStore.
func (s sink) Resync() error { return nil }

func keyed(o any) (string, share, error) {
	switch o := o.(type) {
	case *corev1.Pod:
		return strings.Clone(o.Namespace + "/" + o.Name), shareOf(o), nil
	case *stripped:
		return strings.Clone(o.Namespace + "/" + o.Name), o.share, nil
	}
	return "", share{}, fmt.Errorf("a watch of pods shows a %T", o)
}

// shareOf is what a pod takes of its node: what kube-scheduler counts, which is
// also what a kubelet has still promised to a pod whose resize it has not followed
// yet, and one of the pods that the node may hold.
func shareOf(pod *corev1.Pod) share {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{
		UseStatusResources: true,
		InPlacePodLevelResourcesVerticalScalingEnabled: true,
	})
	s := share{node: pod.Spec.NodeName, amounts: []amount{{corev1.ResourcePods, 1}}}
	for name, quantity := range requests {
		if value := units(name, quantity); value != 0 {
			s.amounts = append(s.amounts, amount{name, value})
		}
	}
	slices.SortFunc(s.amounts, func(a, b amount) int { return strings.Compare(string(a.name), string(b.name)) })
	return s
}

// units is a quantity in the unit of an [amount], rounded up. A larger one than a
// sum of many could hold is cut off: no node has as much.
func units(name corev1.ResourceName, quantity resource.Quantity) int64 {
	const most = math.MaxInt64 >> 16
	if name == corev1.ResourceCPU {
		return min(quantity.MilliValue(), most)
	}
	return min(quantity.Value(), most)
}
