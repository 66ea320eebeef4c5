package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// Options says what an engine syncs and how.
type Options struct {
	// Cluster is the identity of the virtual cluster on its host.
	Cluster translate.Cluster
	// Virtual and Host are how to reach the two API servers. Client-side limits of
	// Host are lifted.
	Virtual, Host *rest.Config
	// VirtualInformers has shared informers of the virtual cluster. The engine uses
	// them instead of watches of its own. nil for none.
	VirtualInformers VirtualInformers
	// HostLimits bound what the engine sends to the host. The zero value is no limit.
	// They are not used if HostLimiter is set.
	HostLimits HostLimits
	// HostLimiter is a limiter that the engine shares with other clients of the host,
	// and with the engines of other leader terms. nil for one of its own.
	HostLimiter *HostLimiter
	// Kinds are those to start with. More can be added at any time.
	Kinds []Kind
	// Patch changes copies before they are written. nil changes nothing.
	Patch Patch
	// Workers is how many objects of one kind are reconciled at a time. Default 16.
	Workers int
	// FullScan is the time between two full scans, which compare everything on both
	// sides as if no watch had ever told of it. Default 10 minutes; the first one
	// comes after a tenth of it.
	FullScan time.Duration
	// Scheme knows the types of the kinds. Default: those of client-go.
	Scheme *runtime.Scheme
	// Clock is the time. Default: the real one.
	Clock clock.WithTicker
	// Log is where the engine says what it waits for and what fails. Default: klog.
	Log logr.Logger
}

// Engine syncs kinds between two clusters. [NewEngine] makes one.
type Engine struct {
	options    Options
	log        logr.Logger
	breaker    *hostBreaker
	storeGuard *storeGuard
	events     *tenantEvents
	virtual    *connection
	host       *connection
	done       chan struct{}
	synced     chan struct{}

	mu      sync.Mutex
	ctx     context.Context // nil until Run
	runners map[string]*runner
	order   []string
	group   sync.WaitGroup
}

// connection is what the engine has of one of the two clusters.
type connection struct {
	client  client.Client
	status  *statusDiscovery
	watches *sharedWatches
}

// NewEngine makes an engine. It talks to nobody before Run.
func NewEngine(options Options) (*Engine, error) {
	options = withDefaults(options)
	e := &Engine{
		options: options, log: options.Log,
		done: make(chan struct{}), synced: make(chan struct{}),
		runners: map[string]*runner{},
	}
	e.breaker = newHostBreaker(options.Clock, e.log, e.done)
	e.breaker.onReset = e.requeueParked
	var err error
	virtual := rest.CopyConfig(options.Virtual)
	virtual.QPS = -1
	if e.virtual, err = e.newSide(Virtual, virtual, virtual); err != nil {
		return nil, fmt.Errorf("cannot make a client of the virtual cluster: %w", err)
	}
	host := options.HostLimiter.Wrap(options.Host)
	if e.host, err = e.newSide(Host, e.breaker.wrap(host, false), e.breaker.wrap(host, true)); err != nil {
		return nil, fmt.Errorf("cannot make a client of the host: %w", err)
	}
	e.host.watches.namespace = options.Cluster.Namespace
	e.host.watches.ours = oursSelector(options.Cluster)
	e.host.watches.away = e.breaker.tripCause
	e.virtual.watches.informers = options.VirtualInformers
	e.storeGuard = newStoreGuard(e.virtual.client, e.host.client, options.Cluster, options.Clock, e.log)
	e.storeGuard.onRelease = e.requeueParked
	e.events = newTenantEvents(e.virtual.client, options.Scheme, options.Clock, e.log, options.Cluster.Namespace)
	for _, kind := range options.Kinds {
		if err := e.register(kind); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// withDefaults fills in what the options leave out.
func withDefaults(options Options) Options {
	if options.Workers == 0 {
		options.Workers = 16
	}
	if options.FullScan == 0 {
		options.FullScan = 10 * time.Minute
	}
	if options.Scheme == nil {
		options.Scheme = scheme.Scheme
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.HostLimiter == nil {
		options.HostLimiter = NewHostLimiter(options.HostLimits, options.Clock)
	}
	if options.Log.GetSink() == nil {
		options.Log = klog.Background().WithName("syncer")
	}
	return options
}

// newSide makes the clients of one side: one for requests and one for watches.
func (e *Engine) newSide(which Side, requests, watches *rest.Config) (*connection, error) {
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
	status, err := newStatusDiscovery(e.options.Scheme, mapper, requests, requestHTTP)
	if err != nil {
		return nil, err
	}
	return &connection{client: c, status: status, watches: &sharedWatches{
		side: which, config: watches, http: watchHTTP,
		scheme: e.options.Scheme, mapper: mapper, clock: e.options.Clock, log: e.log,
		away:  func() error { return nil },
		all:   map[watchKey]*sharedWatch{},
		trims: map[readKey]map[string]func(client.Object){},
	}}, nil
}

// Run syncs until ctx ends. It does not fail when the host cannot be reached, be
// it at the start or later: the virtual cluster stays as it is, and syncing goes
// on when the host is back.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.mu.Lock()
	if e.ctx != nil {
		e.mu.Unlock()
		return errors.New("the engine runs already")
	}
	e.ctx = ctx
	e.virtual.watches.ctx, e.host.watches.ctx = ctx, ctx
	var first []*runner
	for _, name := range e.order {
		e.start(e.runners[name])
		first = append(first, e.runners[name])
	}
	e.group.Go(func() { e.storeGuard.run(ctx) })
	e.group.Go(func() { e.scan(ctx) })
	e.group.Go(func() { e.monitorWatches(ctx) })
	e.group.Go(func() { e.awaitSynced(ctx, first) })
	e.mu.Unlock()
	<-ctx.Done()
	close(e.done)
	e.group.Wait()
	return nil
}

// awaitSynced gives the signal when all of first have seen both sides once.
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

// Synced is closed when every kind that the engine started with has seen all
// objects of both sides once, or was dropped.
func (e *Engine) Synced() <-chan struct{} { return e.synced }

// Add starts to sync a kind. Its name must be free.
func (e *Engine) Add(_ context.Context, kind Kind) error {
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
// that were made stay. Dropping a kind that is not there does nothing.
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

// Enqueue reconciles the object of a kind behind a virtual key, for a reason that no
// watch shows. Of a kind that is not there, or does not run yet, there is nothing
// to look at.
func (e *Engine) Enqueue(kind string, virtual types.NamespacedName) {
	e.mu.Lock()
	r, ok := e.runners[kind]
	e.mu.Unlock()
	if ok {
		r.enqueue(virtual)
	}
}

// Pause stops creating and deleting copies of the kinds, and ending virtual objects
// whose copies are gone. Changes of spec and status are still synced. It does nothing for
// kinds that are not registered.
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

// register adds a kind to the list.
func (e *Engine) register(kind Kind) error {
	if kind.problem != nil {
		return kind.problem
	}
	if _, taken := e.runners[kind.name]; taken {
		return fmt.Errorf("there is a kind %s already", kind.name)
	}
	r := newRunner(kind, e.options.Clock, e.log, e.options.Workers)
	r.breaker, r.storeGuard = e.breaker, e.storeGuard
	r.virtualReader, r.hostReader = newScopeReader(e.virtual.watches), newScopeReader(e.host.watches)
	if trim := r.trimWithoutPanic(); trim != nil {
		if err := e.host.watches.addTrim(kind.name, kind.newHost(), trim); err != nil {
			return fmt.Errorf("cannot trim host objects of kind %s: %w", kind.name, err)
		}
	}
	r.reconciler = &reconciler{
		kind: kind, cluster: e.options.Cluster, clock: e.options.Clock, log: r.log,
		virtual:      sideClients{store: &r.virtualStore, reader: r.virtualReader, client: e.virtual.client, hasStatus: e.virtual.status.has},
		host:         sideClients{store: &r.hostStore, reader: r.hostReader, client: e.host.client},
		expectations: newExpectations(e.options.Clock), sightings: newSightings(e.options.Clock), events: e.events,
		patch: e.options.Patch, paused: &r.paused,
		holdReason: e.storeGuard.onHold, onWrite: func() {},
	}
	e.runners[kind.name] = r
	e.order = append(e.order, kind.name)
	return nil
}

// start starts a kind of the list. The caller holds the lock.
func (e *Engine) start(r *runner) {
	ctx, cancel := context.WithCancel(e.ctx)
	r.cancel = cancel
	e.group.Go(func() { r.run(ctx) })
}

// requeueParked lets go on what waited for the host or for the guard.
func (e *Engine) requeueParked() {
	for _, r := range e.listRunners() {
		r.requeueParked()
	}
}

// listRunners is the kinds in the order in which they were added.
func (e *Engine) listRunners() []*runner {
	e.mu.Lock()
	defer e.mu.Unlock()
	runners := make([]*runner, 0, len(e.order))
	for _, name := range e.order {
		runners = append(runners, e.runners[name])
	}
	return runners
}
