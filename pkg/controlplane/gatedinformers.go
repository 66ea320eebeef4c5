package controlplane

import (
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/admissionregistration"
	"k8s.io/client-go/informers/apiserverinternal"
	"k8s.io/client-go/informers/apps"
	"k8s.io/client-go/informers/autoscaling"
	"k8s.io/client-go/informers/batch"
	"k8s.io/client-go/informers/certificates"
	"k8s.io/client-go/informers/coordination"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/discovery"
	"k8s.io/client-go/informers/events"
	"k8s.io/client-go/informers/extensions"
	"k8s.io/client-go/informers/flowcontrol"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/lifecycle"
	"k8s.io/client-go/informers/networking"
	"k8s.io/client-go/informers/node"
	"k8s.io/client-go/informers/policy"
	"k8s.io/client-go/informers/rbac"
	"k8s.io/client-go/informers/resource"
	"k8s.io/client-go/informers/scheduling"
	"k8s.io/client-go/informers/storage"
	"k8s.io/client-go/informers/storagemigration"
	"k8s.io/client-go/tools/cache"
)

// gatedInformers are shared informers whose new handlers hear nothing before the
// gate opens.
//
// Upstream's controllers are written for informers that start after the last
// controller has been made: many register a handler first and set the lister that
// the handler uses afterwards. The API server's informers already run when our
// controllers are made, so an event in between would find no lister, and a panic
// there ends the process. Events that come early wait in the handler's queue.
type gatedInformers struct {
	informers.SharedInformerFactory
	open <-chan struct{}
}

// InformerFor implements informers.SharedInformerFactory.
func (f *gatedInformers) InformerFor(object runtime.Object, newFunc internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	return &gatedInformer{f.SharedInformerFactory.InformerFor(object, newFunc), f.open}
}

// ForResource implements informers.SharedInformerFactory.
func (f *gatedInformers) ForResource(resource schema.GroupVersionResource) (informers.GenericInformer, error) {
	informer, err := f.SharedInformerFactory.ForResource(resource)
	if err != nil {
		return nil, err
	}
	return &gatedGeneric{informer, f.open}, nil
}

// gatedGeneric is an informer of any resource.
type gatedGeneric struct {
	informers.GenericInformer
	open <-chan struct{}
}

// Informer implements informers.GenericInformer.
func (g *gatedGeneric) Informer() cache.SharedIndexInformer {
	return &gatedInformer{g.GenericInformer.Informer(), g.open}
}

// gatedInformer puts every handler behind the gate.
type gatedInformer struct {
	cache.SharedIndexInformer
	open <-chan struct{}
}

// AddEventHandler implements cache.SharedInformer.
func (i *gatedInformer) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandler(&gatedHandler{handler, i.open})
}

// AddEventHandlerWithResyncPeriod implements cache.SharedInformer.
func (i *gatedInformer) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandlerWithResyncPeriod(&gatedHandler{handler, i.open}, resync)
}

// AddEventHandlerWithOptions implements cache.SharedInformer.
func (i *gatedInformer) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandlerWithOptions(&gatedHandler{handler, i.open}, options)
}

// gatedHandler waits for the gate before it passes on an event. Each handler has
// a goroutine and an unbounded queue of its own, so nobody else waits.
type gatedHandler struct {
	handler cache.ResourceEventHandler
	open    <-chan struct{}
}

// OnAdd implements cache.ResourceEventHandler.
func (h *gatedHandler) OnAdd(object any, isInInitialList bool) {
	<-h.open
	h.handler.OnAdd(object, isInInitialList)
}

// OnUpdate implements cache.ResourceEventHandler.
func (h *gatedHandler) OnUpdate(before, after any) {
	<-h.open
	h.handler.OnUpdate(before, after)
}

// OnDelete implements cache.ResourceEventHandler.
func (h *gatedHandler) OnDelete(object any) {
	<-h.open
	h.handler.OnDelete(object)
}

// The groups of the factory, each on top of the gated InformerFor.

// Admissionregistration implements informers.SharedInformerFactory.
func (f *gatedInformers) Admissionregistration() admissionregistration.Interface {
	return admissionregistration.New(f, "", nil)
}

// Internal implements informers.SharedInformerFactory.
func (f *gatedInformers) Internal() apiserverinternal.Interface {
	return apiserverinternal.New(f, "", nil)
}

// Apps implements informers.SharedInformerFactory.
func (f *gatedInformers) Apps() apps.Interface { return apps.New(f, "", nil) }

// Autoscaling implements informers.SharedInformerFactory.
func (f *gatedInformers) Autoscaling() autoscaling.Interface { return autoscaling.New(f, "", nil) }

// Batch implements informers.SharedInformerFactory.
func (f *gatedInformers) Batch() batch.Interface { return batch.New(f, "", nil) }

// Certificates implements informers.SharedInformerFactory.
func (f *gatedInformers) Certificates() certificates.Interface { return certificates.New(f, "", nil) }

// Coordination implements informers.SharedInformerFactory.
func (f *gatedInformers) Coordination() coordination.Interface { return coordination.New(f, "", nil) }

// Core implements informers.SharedInformerFactory.
func (f *gatedInformers) Core() core.Interface { return core.New(f, "", nil) }

// Discovery implements informers.SharedInformerFactory.
func (f *gatedInformers) Discovery() discovery.Interface { return discovery.New(f, "", nil) }

// Events implements informers.SharedInformerFactory.
func (f *gatedInformers) Events() events.Interface { return events.New(f, "", nil) }

// Extensions implements informers.SharedInformerFactory.
func (f *gatedInformers) Extensions() extensions.Interface { return extensions.New(f, "", nil) }

// Flowcontrol implements informers.SharedInformerFactory.
func (f *gatedInformers) Flowcontrol() flowcontrol.Interface { return flowcontrol.New(f, "", nil) }

// Lifecycle implements informers.SharedInformerFactory.
func (f *gatedInformers) Lifecycle() lifecycle.Interface { return lifecycle.New(f, "", nil) }

// Networking implements informers.SharedInformerFactory.
func (f *gatedInformers) Networking() networking.Interface { return networking.New(f, "", nil) }

// Node implements informers.SharedInformerFactory.
func (f *gatedInformers) Node() node.Interface { return node.New(f, "", nil) }

// Policy implements informers.SharedInformerFactory.
func (f *gatedInformers) Policy() policy.Interface { return policy.New(f, "", nil) }

// Rbac implements informers.SharedInformerFactory.
func (f *gatedInformers) Rbac() rbac.Interface { return rbac.New(f, "", nil) }

// Resource implements informers.SharedInformerFactory.
func (f *gatedInformers) Resource() resource.Interface { return resource.New(f, "", nil) }

// Scheduling implements informers.SharedInformerFactory.
func (f *gatedInformers) Scheduling() scheduling.Interface { return scheduling.New(f, "", nil) }

// Storage implements informers.SharedInformerFactory.
func (f *gatedInformers) Storage() storage.Interface { return storage.New(f, "", nil) }

// Storagemigration implements informers.SharedInformerFactory.
func (f *gatedInformers) Storagemigration() storagemigration.Interface {
	return storagemigration.New(f, "", nil)
}
