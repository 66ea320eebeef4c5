package usage

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	resourcehelper "k8s.io/component-helpers/resource"
)

// sink is the store of a watch of pods. It keeps no pod, only its share.
type sink struct{ usage *Usage }

var _ cache.TransformingStore = sink{}

// strippedPod replaces a pod while a list of all pods comes in.
type strippedPod struct {
	metav1.PartialObjectMetadata
	share share
}

// DeepCopyObject implements runtime.Object. Nobody changes one.
func (s *strippedPod) DeepCopyObject() runtime.Object { return s }

// GetObjectKind implements runtime.Object.
func (s *strippedPod) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// Transformer implements cache.TransformingStore.
func (s sink) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			return o, nil
		}
		small := &strippedPod{share: shareOf(pod)}
		small.Namespace, small.Name = pod.Namespace, pod.Name
		return small, nil
	}
}

// Add implements cache.ReflectorStore.
func (s sink) Add(o any) error {
	key, next, err := keyed(o)
	if err != nil {
		return err
	}
	s.usage.set(key, next)
	return nil
}

// Update implements cache.ReflectorStore.
func (s sink) Update(o any) error { return s.Add(o) }

// Delete implements cache.ReflectorStore.
func (s sink) Delete(o any) error {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o)
	if err != nil {
		return err
	}
	s.usage.removePod(key)
	return nil
}

// Replace implements cache.ReflectorStore.
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

// Resync implements cache.ReflectorStore.
func (s sink) Resync() error { return nil }

// keyed returns the key and the share of a pod.
func keyed(o any) (string, share, error) {
	switch o := o.(type) {
	case *corev1.Pod:
		return strings.Clone(o.Namespace + "/" + o.Name), shareOf(o), nil
	case *strippedPod:
		return strings.Clone(o.Namespace + "/" + o.Name), o.share, nil
	}
	return "", share{}, fmt.Errorf("cannot read an object of type %T as a pod", o)
}

// shareOf returns what a pod takes of its node, as kube-scheduler counts it, and one
// of the pods that the node may hold. Until a kubelet has followed a resize, the
// larger of both requests counts.
func shareOf(pod *corev1.Pod) share {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{
		UseStatusResources: true,
		InPlacePodLevelResourcesVerticalScalingEnabled: true,
	})
	s := share{node: unique.Make(pod.Spec.NodeName), amounts: []amount{{unique.Make(corev1.ResourcePods), 1}}}
	for name, quantity := range requests {
		if value := units(name, quantity); value != 0 {
			s.amounts = append(s.amounts, amount{unique.Make(name), value})
		}
	}
	slices.SortFunc(s.amounts, func(a, b amount) int { return strings.Compare(string(a.name.Value()), string(b.name.Value())) })
	return s
}

// units returns a quantity in the unit of an [amount], rounded up. It limits the
// result to what a sum of many pods can hold.
func units(name corev1.ResourceName, quantity resource.Quantity) int64 {
	const most = math.MaxInt64 >> 16
	if name == corev1.ResourceCPU {
		return min(quantity.MilliValue(), most)
	}
	return min(quantity.Value(), most)
}
