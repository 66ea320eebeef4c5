package customresources

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Engine is the part of the sync engine that the controller uses.
type Engine interface {
	// Add starts to sync a kind.
	Add(kind syncer.Kind) error
	// Drop stops syncing a kind. Copies stay.
	Drop(name string)
}

// Controller copies definitions from the host, and syncs their objects once both sides serve
// them. Each term needs a new one.
type Controller struct {
	// Definitions are those of the virtual cluster.
	Definitions *Definitions
	// Host reads definitions. Virtual reads and writes them.
	Host, Virtual apiextensionsclient.Interface
	// APIs reads discovery and OpenAPI documents of the host. nil finds no aggregated APIs.
	APIs rest.Interface
	// Period is how often discovery of the host is polled for a kind without a definition
	// there. 0 means 30 seconds.
	Period time.Duration
	// Engine syncs the objects.
	Engine Engine
	// Cluster is the identity of the virtual cluster.
	Cluster translate.Cluster
	// Log logs kinds that start and kinds that cannot be synced.
	Log logr.Logger

	queue   workqueue.TypedRateLimitingInterface[string]
	host    map[string]*definitionWatch
	running map[string]runningKind // used by the worker alone
	apis    aggregatedAPIs         // used by the worker alone

	mu       sync.Mutex
	problems map[string]error // resource -> why it is not synced
}

// runningKind is a kind that the engine syncs.
type runningKind struct {
	names []string // names of the kinds of the engine
	state string   // the versions of the definitions that they were built from
	// fromAPI is true if the host has an aggregated API instead of a definition.
	fromAPI bool
}

// Run syncs custom resources until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	c.queue = workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())
	c.host, c.running = map[string]*definitionWatch{}, map[string]runningKind{}
	c.apis = aggregatedAPIs{host: c.APIs, schemas: map[string]apiSchema{}}
	c.mu.Lock()
	c.problems = map[string]error{}
	c.mu.Unlock()
	for _, resource := range c.Definitions.resources() {
		var err error
		if c.host[resource], err = newDefinitionWatch(c.Host, resource, c.queue.Add); err != nil {
			return err
		}
		c.queue.Add(resource)
	}
	c.Definitions.setOnChange(c.queue.Add)
	defer c.Definitions.setOnChange(nil)
	var group sync.WaitGroup
	for resource, w := range c.host {
		group.Go(func() { w.informer.RunWithContext(ctx) })
		group.Go(func() { w.awaitSynced(ctx, func() { c.queue.Add(resource) }) })
	}
	group.Go(func() { c.work(ctx) })
	<-ctx.Done()
	c.queue.ShutDown()
	group.Wait()
	return nil
}
