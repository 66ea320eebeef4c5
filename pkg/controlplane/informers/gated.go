// Package informers adapts the shared informers of the process to those who need
// their events in another way.
package informers

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientinformers "k8s.io/client-go/informers"
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

// Gated is a factory of shared informers for one term of the controllers. Its
// handlers get no event before [Gated.Open], and are removed by [Gated.Close].
//
// Upstream's controllers are written for informers that start after the last
// controller was built. Many register a handler first, and set its lister afterwards. The API server's informers already run when the controllers are built.
// An early event would find no lister, and the panic would end the process. So early
// events wait in the handler's queue.
type Gated struct {
	clientinformers.SharedInformerFactory
	// lifetime ends the shared informers, also those that a term was the first to need.
	lifetime <-chan struct{}
	open     chan struct{}
	closed   chan struct{}

	mu      sync.Mutex
	removes []func() // remove the handlers of the term
}

// NewGated returns a factory on top of one whose informers may run already, and run
// until lifetime is closed.
func NewGated(shared clientinformers.SharedInformerFactory, lifetime <-chan struct{}) *Gated {
	return &Gated{
		SharedInformerFactory: shared, lifetime: lifetime,
		open: make(chan struct{}), closed: make(chan struct{}),
	}
}

// Start implements informers.SharedInformerFactory. It ignores the end of the term.
func (f *Gated) Start(<-chan struct{}) { f.SharedInformerFactory.Start(f.lifetime) }

// Shutdown implements informers.SharedInformerFactory. It does nothing: others use the
// informers.
func (f *Gated) Shutdown() {}

// Open passes events to the handlers from now on. It must be called once.
func (f *Gated) Open() { close(f.open) }

// Close removes the handlers and drops what they have not seen. It must be called
// once. The shared informers live on.
func (f *Gated) Close() {
	close(f.closed)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, remove := range f.removes {
		remove()
	}
	f.removes = nil
}

// InformerFor implements informers.SharedInformerFactory.
func (f *Gated) InformerFor(object runtime.Object, newFunc internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	return &gatedInformer{f.SharedInformerFactory.InformerFor(object, newFunc), f}
}

// ForResource implements informers.SharedInformerFactory.
func (f *Gated) ForResource(resource schema.GroupVersionResource) (clientinformers.GenericInformer, error) {
	informer, err := f.SharedInformerFactory.ForResource(resource)
	if err != nil {
		return nil, err
	}
	return &gatedGeneric{informer, f}, nil
}

// gatedGeneric is an informer of any resource.
type gatedGeneric struct {
	clientinformers.GenericInformer
	factory *Gated
}

// Informer implements clientinformers.GenericInformer.
func (g *gatedGeneric) Informer() cache.SharedIndexInformer {
	return &gatedInformer{g.GenericInformer.Informer(), g.factory}
}

// gatedInformer puts every handler behind the gate.
type gatedInformer struct {
	cache.SharedIndexInformer
	factory *Gated
}

// AddEventHandler implements cache.SharedInformer.
func (i *gatedInformer) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.keep(i.SharedIndexInformer.AddEventHandler(i.delayUntilOpen(handler)))
}

// AddEventHandlerWithResyncPeriod implements cache.SharedInformer.
func (i *gatedInformer) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.keep(i.SharedIndexInformer.AddEventHandlerWithResyncPeriod(i.delayUntilOpen(handler), resync))
}

// AddEventHandlerWithOptions implements cache.SharedInformer.
func (i *gatedInformer) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return i.keep(i.SharedIndexInformer.AddEventHandlerWithOptions(i.delayUntilOpen(handler), options))
}

// delayUntilOpen returns a handler that waits until the factory is open.
func (i *gatedInformer) delayUntilOpen(handler cache.ResourceEventHandler) cache.ResourceEventHandler {
	return &gatedHandler{handler, i.factory}
}

// keep records a handler for the end of the term.
func (i *gatedInformer) keep(registration cache.ResourceEventHandlerRegistration, err error) (cache.ResourceEventHandlerRegistration, error) {
	if err != nil {
		return nil, err
	}
	i.factory.mu.Lock()
	defer i.factory.mu.Unlock()
	i.factory.removes = append(i.factory.removes, func() { _ = i.RemoveEventHandler(registration) })
	return registration, nil
}

// AddIndexers implements cache.SharedIndexInformer. Indexers of an earlier term stay, so
// those that exist are left out.
func (i *gatedInformer) AddIndexers(indexers cache.Indexers) error {
	added := maps.Clone(indexers)
	for name := range i.GetIndexer().GetIndexers() {
		delete(added, name)
	}
	if len(added) == 0 {
		return nil
	}
	return i.SharedIndexInformer.AddIndexers(added)
}

// gatedHandler holds events back until the gate opens. Each handler has a goroutine and
// an unbounded queue of its own, so nobody else waits.
type gatedHandler struct {
	handler cache.ResourceEventHandler
	factory *Gated
}

// awaitOpen waits for the gate. It returns false if the term has ended before.
func (h *gatedHandler) awaitOpen() bool {
	select {
	case <-h.factory.open:
		return true
	case <-h.factory.closed:
		return false
	}
}

// OnAdd implements cache.ResourceEventHandler.
func (h *gatedHandler) OnAdd(object any, isInInitialList bool) {
	if h.awaitOpen() {
		h.handler.OnAdd(object, isInInitialList)
	}
}

// OnUpdate implements cache.ResourceEventHandler.
func (h *gatedHandler) OnUpdate(before, after any) {
	if h.awaitOpen() {
		h.handler.OnUpdate(before, after)
	}
}

// OnDelete implements cache.ResourceEventHandler.
func (h *gatedHandler) OnDelete(object any) {
	if h.awaitOpen() {
		h.handler.OnDelete(object)
	}
}

// The groups of the factory, each on top of the gated InformerFor.

// Admissionregistration implements informers.SharedInformerFactory.
func (f *Gated) Admissionregistration() admissionregistration.Interface {
	return admissionregistration.New(f, "", nil)
}

// Internal implements informers.SharedInformerFactory.
func (f *Gated) Internal() apiserverinternal.Interface {
	return apiserverinternal.New(f, "", nil)
}

// Apps implements informers.SharedInformerFactory.
func (f *Gated) Apps() apps.Interface { return apps.New(f, "", nil) }

// Autoscaling implements informers.SharedInformerFactory.
func (f *Gated) Autoscaling() autoscaling.Interface { return autoscaling.New(f, "", nil) }

// Batch implements informers.SharedInformerFactory.
func (f *Gated) Batch() batch.Interface { return batch.New(f, "", nil) }

// Certificates implements informers.SharedInformerFactory.
func (f *Gated) Certificates() certificates.Interface { return certificates.New(f, "", nil) }

// Coordination implements informers.SharedInformerFactory.
func (f *Gated) Coordination() coordination.Interface { return coordination.New(f, "", nil) }

// Core implements informers.SharedInformerFactory.
func (f *Gated) Core() core.Interface { return core.New(f, "", nil) }

// Discovery implements informers.SharedInformerFactory.
func (f *Gated) Discovery() discovery.Interface { return discovery.New(f, "", nil) }

// Events implements informers.SharedInformerFactory.
func (f *Gated) Events() events.Interface { return events.New(f, "", nil) }

// Extensions implements informers.SharedInformerFactory.
func (f *Gated) Extensions() extensions.Interface { return extensions.New(f, "", nil) }

// Flowcontrol implements informers.SharedInformerFactory.
func (f *Gated) Flowcontrol() flowcontrol.Interface { return flowcontrol.New(f, "", nil) }

// Lifecycle implements informers.SharedInformerFactory.
func (f *Gated) Lifecycle() lifecycle.Interface { return lifecycle.New(f, "", nil) }

// Networking implements informers.SharedInformerFactory.
func (f *Gated) Networking() networking.Interface { return networking.New(f, "", nil) }

// Node implements informers.SharedInformerFactory.
func (f *Gated) Node() node.Interface { return node.New(f, "", nil) }

// Policy implements informers.SharedInformerFactory.
func (f *Gated) Policy() policy.Interface { return policy.New(f, "", nil) }

// Rbac implements informers.SharedInformerFactory.
func (f *Gated) Rbac() rbac.Interface { return rbac.New(f, "", nil) }

// Resource implements informers.SharedInformerFactory.
func (f *Gated) Resource() resource.Interface { return resource.New(f, "", nil) }

// Scheduling implements informers.SharedInformerFactory.
func (f *Gated) Scheduling() scheduling.Interface { return scheduling.New(f, "", nil) }

// Storage implements informers.SharedInformerFactory.
func (f *Gated) Storage() storage.Interface { return storage.New(f, "", nil) }

// Storagemigration implements informers.SharedInformerFactory.
func (f *Gated) Storagemigration() storagemigration.Interface {
	return storagemigration.New(f, "", nil)
}
