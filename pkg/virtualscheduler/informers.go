package virtualscheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/tools/cache"
)

// sharedInformers are informers of the process in the form that a kube-scheduler needs. A
// kube-scheduler of its own would watch only pods that are not finished, as finished ones
// need no room on a node.
type sharedInformers struct {
	informers.SharedInformerFactory
}

// InformerFor implements informers.SharedInformerFactory.
func (f *sharedInformers) InformerFor(object runtime.Object, newFunc internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	informer := f.SharedInformerFactory.InformerFor(object, newFunc)
	if _, ok := object.(*corev1.Pod); ok {
		return &unfinishedPods{informer}
	}
	return informer
}

// Core implements informers.SharedInformerFactory, on top of InformerFor.
func (f *sharedInformers) Core() core.Interface { return core.New(f, "", nil) }

// unfinishedPods passes handlers only pods that are not finished.
type unfinishedPods struct{ cache.SharedIndexInformer }

// AddEventHandler implements cache.SharedInformer. Kube-scheduler asks for no
// resync.
func (i *unfinishedPods) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	filtered := cache.FilteringResourceEventHandler{FilterFunc: isUnfinished, Handler: handler}
	return i.SharedIndexInformer.AddEventHandlerWithResyncPeriod(filtered, 0)
}

// isUnfinished reports whether a pod is not finished.
func isUnfinished(item any) bool {
	if tombstone, ok := item.(cache.DeletedFinalStateUnknown); ok {
		item = tombstone.Obj
	}
	pod, ok := item.(*corev1.Pod)
	return !ok || pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}
