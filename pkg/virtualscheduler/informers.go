package virtualscheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/tools/cache"
)

// sharedInformers are informers of the process as a kube-scheduler wants them: by
// itself it would watch only pods that have not ended, so that those that have take
// no room on a node. Others in the process want all pods; so the scheduler's
// handlers are told that a pod is gone when it ends.
type sharedInformers struct {
	informers.SharedInformerFactory
}

// InformerFor implements informers.SharedInformerFactory.
func (f *sharedInformers) InformerFor(object runtime.Object, newFunc internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	informer := f.SharedInformerFactory.InformerFor(object, newFunc)
	if _, is := object.(*corev1.Pod); is {
		return &unended{informer}
	}
	return informer
}

// Core implements informers.SharedInformerFactory, on top of InformerFor.
func (f *sharedInformers) Core() core.Interface { return core.New(f, "", nil) }

// unended tells handlers of pods that have not ended.
type unended struct{ cache.SharedIndexInformer }

// AddEventHandler implements cache.SharedInformer. Kube-scheduler asks for no
// resync.
func (i *unended) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	filtered := cache.FilteringResourceEventHandler{FilterFunc: hasNotEnded, Handler: handler}
	return i.SharedIndexInformer.AddEventHandlerWithResyncPeriod(filtered, 0)
}

// hasNotEnded is true of what is no pod: the last state of one that a watch missed.
func hasNotEnded(item any) bool {
	if missed, is := item.(cache.DeletedFinalStateUnknown); is {
		item = missed.Obj
	}
	pod, is := item.(*corev1.Pod)
	return !is || pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}
