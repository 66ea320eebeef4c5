package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sublet-dev/sublet/api/syncz"
)

// Engine syncs kinds between two clusters. Each leader term creates a new engine, which runs
// once. Nothing of an engine outlives its Run except the metrics of the process.
type Engine struct {
	options    Options
	log        logr.Logger
	breaker    *hostBreaker
	storeGuard *storeGuard
	events     *tenantEvents
	leftovers  *leftovers
	ledger     *copyLedger
	virtual    *connection
	host       *connection
	done       chan struct{} // closed when Run ends: from then on the breaker rejects writes to the host
	synced     chan struct{} // closed when the kinds of the start have synced their caches
	leading    chan struct{} // closed by Lead
	lead       func()
	suspicions chan struct{} // has an element if the host may have gone back in time

	mu      sync.Mutex
	ctx     context.Context    //nolint:containedctx // Ends all kinds. nil until Run.
	runners map[string]*runner // name of the kind -> its runner
	order   []string           // names of the kinds as they were added
	group   sync.WaitGroup
	fail    context.CancelCauseFunc // ends Run with an error. Does nothing before Run.
}

// connection is the client and the watches of one of the two clusters.
type connection struct {
	client  client.Client
	status  *statusDiscovery
	watches *sharedWatches
}

// NewEngine returns an engine. It sends no request before Run.
func NewEngine(options Options) (*Engine, error) {
	options = withDefaults(options)
	e := &Engine{
		options: options, log: options.Log,
		done: make(chan struct{}), synced: make(chan struct{}), leading: make(chan struct{}),
		suspicions: make(chan struct{}, 1), fail: func(error) {}, runners: map[string]*runner{},
	}
	e.lead = sync.OnceFunc(func() { close(e.leading) })
	e.breaker = newHostBreaker(options.Clock, e.log, e.done)
	e.breaker.onReset = func() {
		e.suspectRollback()
		e.requeueParked()
	}
	e.ledger = newCopyLedger(options.ObjectLimits)
	e.ledger.onFreed = e.recordFreed
	var err error
	virtual, host := rest.CopyConfig(options.Virtual), rest.CopyConfig(options.Host)
	virtual.QPS, host.QPS = -1, -1
	if e.virtual, err = e.newConnection(Virtual, virtual, virtual); err != nil {
		return nil, fmt.Errorf("cannot create a client of the virtual cluster: %w", err)
	}
	if e.host, err = e.newConnection(Host, e.breaker.wrap(host, failFast), e.breaker.wrap(host, waitForReset)); err != nil {
		return nil, fmt.Errorf("cannot create a client of the host: %w", err)
	}
	e.host.watches.namespace = options.Cluster.Namespace
	e.host.watches.defaultSelector = oursSelector(options.Cluster)
	e.host.watches.away, e.host.watches.onReopen = e.breaker.tripCause, e.suspectRollback
	e.virtual.watches.informers, e.virtual.watches.monitor = options.VirtualInformers, options.InformerMonitor
	e.storeGuard = newStoreGuard(e.virtual.client, e.host.client, options.Cluster, options.Clock, e.log)
	e.storeGuard.onRelease = e.requeueParked
	e.storeGuard.mayWrite, e.storeGuard.restore, e.storeGuard.opened = options.MayWrite, options.Restore, options.Opened
	e.storeGuard.current = options.StoreVersion
	e.storeGuard.onPutBack = func(reason error) { e.fail(fmt.Errorf("%w: %w", reason, errRolledBack)) }
	e.breaker.mayWrite = e.storeGuard.barReason
	e.leftovers = &leftovers{
		kinds: options.Leftovers, client: e.host.client, virtual: e.virtual.client, scheme: options.Scheme, cluster: options.Cluster,
		clock: options.Clock, log: e.log, holdReason: e.storeGuard.onHold, checks: map[string]syncz.Check{},
	}
	e.events = newTenantEvents(e.virtual.client, options.Scheme, options.Clock, e.log, options.Cluster)
	for _, kind := range options.Kinds {
		if err := e.register(kind); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// newConnection creates the clients of one side: one for requests and one for
// watches.
func (e *Engine) newConnection(side Side, requests, watches *rest.Config) (*connection, error) {
	requestHTTP, err := rest.HTTPClientFor(requests)
	if err != nil {
		return nil, err
	}
	watchHTTP, err := rest.HTTPClientFor(watches)
	if err != nil {
		return nil, err
	}
	mapper, err := newMapper(e.options.Scheme, requests, requestHTTP)
	if err != nil {
		return nil, err
	}
	c, err := client.New(requests, client.Options{HTTPClient: requestHTTP, Scheme: e.options.Scheme, Mapper: mapper})
	if err != nil {
		return nil, err
	}
	deleting, err := newDeletingClient(c, requests, requestHTTP)
	if err != nil {
		return nil, err
	}
	status, err := newStatusDiscovery(e.options.Scheme, mapper, requests, requestHTTP)
	if err != nil {
		return nil, err
	}
	return &connection{client: deleting, status: status, watches: &sharedWatches{
		side: side, config: watches, http: watchHTTP,
		scheme: e.options.Scheme, mapper: mapper, clock: e.options.Clock, log: e.log,
		away: func() error { return nil }, onReopen: func() {}, onList: e.recordVersion,
		all:   map[watchKey]*sharedWatch{},
		trims: map[readKey]map[string]func(client.Object){},
	}}, nil
}

// Run syncs until ctx ends, which is the end of the leader term. Then it cancels all requests
// and sends no further write to the host. An unreachable host is no failure: the virtual
// cluster stays as it is, and syncing continues later. Run returns an error if the engine cannot continue.
func (e *Engine) Run(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	e.mu.Lock()
	if e.ctx != nil {
		e.mu.Unlock()
		return errors.New("cannot run an engine twice")
	}
	e.ctx, e.fail = ctx, fail
	e.virtual.watches.ctx, e.host.watches.ctx = ctx, ctx
	var first []*runner
	for _, name := range e.order {
		e.start(e.runners[name])
		first = append(first, e.runners[name])
	}
	e.group.Go(func() { e.monitor(ctx) })
	e.group.Go(func() { e.findRollbacks(ctx) })
	e.group.Go(func() { e.awaitSynced(ctx, first) })
	e.group.Go(func() { e.runLeading(ctx) })
	e.mu.Unlock()
	if !e.options.Standby {
		e.Lead()
	}
	<-ctx.Done()
	close(e.done)
	e.group.Wait()
	e.resetMeters()
	if err := context.Cause(ctx); errors.Is(err, errRolledBack) {
		return err
	}
	return nil
}

// Lead makes an engine on standby start to sync. Further calls do nothing.
func (e *Engine) Lead() { e.lead() }

// isLeading reports whether the engine syncs.
func (e *Engine) isLeading() bool {
	select {
	case <-e.leading:
		return true
	default:
		return false
	}
}

// runLeading runs what only a leader may do, besides the kinds.
func (e *Engine) runLeading(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-e.leading:
	}
	var group sync.WaitGroup
	group.Go(func() { e.storeGuard.run(ctx) })
	group.Go(func() { e.scan(ctx) })
	group.Go(func() { e.leftovers.run(ctx) })
	group.Wait()
}

// awaitSynced closes e.synced when the given kinds have synced their caches or were dropped.
func (e *Engine) awaitSynced(ctx context.Context, first []*runner) {
	for _, r := range first {
		select {
		case <-r.synced:
		case <-r.done:
		case <-ctx.Done():
			return
		}
	}
	e.log.Info("Caches synced")
	close(e.synced)
}

// Synced returns a channel that is closed when each kind that the engine started with has
// synced its caches, or was dropped.
func (e *Engine) Synced() <-chan struct{} { return e.synced }

// Add starts to sync a kind. It fails if there is a kind of that name.
func (e *Engine) Add(kind Kind) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx != nil && e.ctx.Err() != nil {
		return errors.New("the engine has stopped")
	}
	if err := e.register(kind); err != nil {
		return err
	}
	if e.ctx != nil {
		e.start(e.runners[kind.name])
	}
	return nil
}

// Drop stops to sync a kind and ends the watches that nothing else needs. Copies
// stay. It does nothing if the kind is not registered.
func (e *Engine) Drop(name string) {
	e.mu.Lock()
	r, ok := e.runners[name]
	delete(e.runners, name)
	e.order = slices.DeleteFunc(e.order, func(n string) bool { return n == name })
	e.mu.Unlock()
	if !ok {
		return
	}
	e.host.watches.removeTrim(name)
	if r.cancel != nil {
		r.cancel()
		<-r.done
	}
}

// Enqueue queues the object for a reconcile, for a reason that no watch delivers. It
// does nothing if the kind is not registered.
func (e *Engine) Enqueue(kind string, virtual types.NamespacedName) {
	e.mu.Lock()
	r, ok := e.runners[kind]
	e.mu.Unlock()
	if ok {
		r.enqueue(virtual)
	}
}

// HostReader returns the reader of a kind's host caches. It returns an error if the kind is not
// registered.
func (e *Engine) HostReader(kind string) (client.Reader, error) {
	e.mu.Lock()
	r, ok := e.runners[kind]
	e.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("kind %s is not synced", kind)
	}
	return r.reconciler.host.reader, nil
}

// Pause stops creating and deleting copies of the kinds, and ending virtual objects
// whose copies are gone. Changes of spec and status are still synced. It does nothing for
// kinds that are not registered.
//
// A virtual cluster that sleeps will pause its pods, and remove their copies after [MarkRemoved].
// No part of the server does that yet. TestSleepAndWake shows it.
func (e *Engine) Pause(kinds ...string) { e.setPaused(kinds, true) }

// Resume ends the pause of kinds and reconciles what waited for it.
func (e *Engine) Resume(kinds ...string) { e.setPaused(kinds, false) }

// setPaused pauses or resumes kinds.
func (e *Engine) setPaused(kinds []string, paused bool) {
	for _, r := range e.listRunners() {
		if slices.Contains(kinds, r.kind.name) {
			r.paused.Store(paused)
			if !paused {
				r.requeueParked()
			}
		}
	}
}

// register adds a kind without starting it. The caller holds the lock, or is NewEngine.
func (e *Engine) register(kind Kind) error {
	if kind.problem != nil {
		return kind.problem
	}
	if _, taken := e.runners[kind.name]; taken {
		return fmt.Errorf("kind %s is registered already", kind.name)
	}
	r := newRunner(kind, e.options.Clock, e.log, e.options.Workers)
	r.breaker, r.storeGuard, r.leading = e.breaker, e.storeGuard, e.leading
	r.virtualReader, r.hostReader = newScopeReader(e.virtual.watches), newScopeReader(e.host.watches)
	if trim := r.trimWithoutPanic(); trim != nil {
		if err := e.host.watches.addTrim(kind.name, kind.newHost(), trim); err != nil {
			return fmt.Errorf("cannot trim host objects of kind %s: %w", kind.name, err)
		}
	}
	resource, err := r.copyResource(e.options.Scheme)
	if err != nil {
		return err
	}
	r.reconciler = e.newReconciler(r)
	r.reconciler.copyResource = resource
	e.runners[kind.name] = r
	e.order = append(e.order, kind.name)
	return nil
}

// newReconciler returns the reconciler of a runner.
func (e *Engine) newReconciler(r *runner) *reconciler {
	c := newReconciler(r.kind, e.options.Cluster, e.options.Clock, r.log)
	c.virtual = sideClients{
		store: r.virtualObjects(), reader: r.virtualReader, client: e.virtual.client,
		hasStatus: e.virtual.status.has, forgetStatus: e.virtual.status.forget,
	}
	c.host = sideClients{store: &r.hostStore, reader: r.hostReader, client: e.host.client}
	c.unstored.isStored = func(key types.NamespacedName) bool { return r.virtualStore.Get(key) != nil }
	c.events, c.ledger, c.paused, c.isCopied = e.events, e.ledger, &r.paused, e.isCopied
	c.pendingRefusal, c.failures, c.holdReason = r.refusals.pendingRefusal, r.queue.NumRequeues, e.storeGuard.onHold
	return c
}

// copyResource returns the resource under which the ledger counts the copies of the kind. It
// is empty for a kind whose copies are not on the host.
func (r *runner) copyResource(scheme *runtime.Scheme) (string, error) {
	if r.kind.owner != Virtual {
		return "", nil
	}
	gvk, err := apiutil.GVKForObject(r.kind.newHost(), scheme)
	if err != nil {
		return "", fmt.Errorf("cannot find the type of host objects of kind %s: %w", r.kind.name, err)
	}
	return resourceName(gvk), nil
}

// Usage returns how much of [Options.ObjectLimits] the copies on the host use.
func (e *Engine) Usage() []Usage { return e.ledger.usage() }

// virtualObjects returns the store of the kind's virtual objects.
func (r *runner) virtualObjects() store {
	if r.kind.metadataOnly {
		return &metadataStore{&r.virtualStore, r.kind.newVirtual}
	}
	return &r.virtualStore
}

// start starts a registered kind. The caller holds the lock.
func (e *Engine) start(r *runner) {
	ctx, cancel := context.WithCancel(e.ctx)
	r.cancel = cancel
	e.group.Go(func() { r.run(ctx) })
}

// requeueParked queues what waited for the host or for the store guard.
func (e *Engine) requeueParked() {
	for _, r := range e.listRunners() {
		r.requeueParked()
	}
}

// recordFreed lets refused copies of a resource retry, because there may be room for them.
func (e *Engine) recordFreed(resource string) {
	for _, r := range e.listRunners() {
		if r.reconciler.copyResource == resource {
			r.refusals.recordFreed()
		}
	}
}

// listRunners returns the kinds in the order in which they were added.
func (e *Engine) listRunners() []*runner {
	e.mu.Lock()
	defer e.mu.Unlock()
	runners := make([]*runner, 0, len(e.order))
	for _, name := range e.order {
		runners = append(runners, e.runners[name])
	}
	return runners
}
