package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	flowcontrolclient "k8s.io/client-go/kubernetes/typed/flowcontrol/v1"
	"k8s.io/component-base/metrics/prometheus/slis"

	"github.com/sublet-dev/sublet/api/syncz"
)

// serve runs an assembled API server.
func (c *ControlPlane) serve(ctx context.Context, server *apiServer) error {
	boot, err := newBootstrap(&c.config, server.loopback, c.booted)
	if err != nil {
		return err
	}
	guard, err := newStartGuard(server.loopback, c.config.Clock, boot.moves.Load)
	if err != nil {
		return err
	}
	tasks, err := c.newTasks(server)
	if err != nil {
		return err
	}
	c.tasks.Store(tasks)
	c.checks.Store(&[]func() syncz.Check{guard.check, boot.check, tasks.check})
	generic := server.aggregator.GenericAPIServer
	// As hooks, these are part of /readyz.
	for name, hook := range map[string]genericapiserver.PostStartHookFunc{
		"sublet/bootstrap": boot.run,
		"sublet/openapi":   server.openAPI.Start,
		"sublet/tasks":     tasks.hook,
	} {
		if err := generic.AddPostStartHook(name, hook); err != nil {
			return fmt.Errorf("cannot prepare the API server: %w", err)
		}
	}
	if err := generic.AddPreShutdownHook("sublet/custom-resources", awaitCustomResources(generic)); err != nil {
		return fmt.Errorf("cannot prepare the API server: %w", err)
	}
	generic.ShutdownTimeout = serverGrace
	// It does not call the PrepareRun of the aggregator, which only adds upstream's OpenAPI
	// handlers.
	prepared := generic.PrepareRun()
	server.openAPI.Install(generic.Handler.NonGoRestfulMux)
	if c.config.ownsMetrics() {
		// It registers the metrics of the API server too. Its handler serves nobody.
		routes.DefaultMetrics{}.Install(mux.NewPathRecorderMux("unused"))
		slis.SLIMetrics{}.Install(generic.Handler.NonGoRestfulMux)
	}
	for path, handler := range c.config.Handlers {
		generic.Handler.NonGoRestfulMux.Handle(path, handler)
	}

	// The parts do not stop with ctx, but one after the other below.
	base := context.WithoutCancel(ctx)
	c.loopback.Open(generic.Handler)
	stopServer := start(base, func(ctx context.Context) error {
		server.warm(ctx)
		if err := prepared.RunWithContext(ctx); err != nil {
			return fmt.Errorf("cannot run the API server: %w", err)
		}
		return nil
	})

	c.serving = stopServer
	cause := c.watch(ctx, guard, stopServer, boot.failed)
	return errors.Join(cause, stopServer.stop(serverGrace+time.Second))
}

// newTasks returns the tasks that replace hooks of upstream.
func (c *ControlPlane) newTasks(server *apiServer) (*startTasks, error) {
	client, err := flowcontrolclient.NewForConfig(server.loopback)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare flow control: %w", err)
	}
	flow := &flowControl{client: client, informers: server.informers, clock: c.config.Clock}
	builtin := &builtinKeeper{groups: &server.builtin, own: server.loopback}
	addresses, err := (&addressKeeper{server: server, extra: server.extra}).tasks()
	if err != nil {
		return nil, err
	}
	return newStartTasks(c.config.Clock, append(addresses, flow.task(), builtin.task(), server.discovery.task())...), nil
}

// customResources is upstream's name of the signal that the definitions of custom
// resources have been read.
const customResources = "CRDInformerHasNotSynced"

// awaitCustomResources returns a hook that delays a stop until the CustomResourceDefinitions have been
// read. Upstream's hook ends the process if it is stopped before that.
func awaitCustomResources(server *genericapiserver.GenericAPIServer) genericapiserver.PreShutdownHookFunc {
	return func() error {
		if signal, ok := server.MuxAndDiscoveryCompleteSignals()[customResources]; ok {
			<-signal
		}
		return nil
	}
}

// closeListener closes the port. It does not if the API server has not stopped in time, because the
// server would treat that as a failure and end the process.
func (c *ControlPlane) closeListener() {
	if c.serving == nil || isClosed(c.serving.done) {
		_ = c.config.Listener.Close()
	}
}

// RunWithControllers runs the API server, and the controllers for as long. It returns
// what [ControlPlane.Run] does.
func (c *ControlPlane) RunWithControllers(ctx context.Context) error {
	base := context.WithoutCancel(ctx)
	server, controllers := start(base, c.Run), start(base, c.RunControllers)
	var cause error
	select {
	case <-ctx.Done():
	case <-server.done:
		cause = server.err
	case <-controllers.done:
		cause = ended("the controllers", controllers.err)
	}
	return errors.Join(cause, controllers.stop(controllersGrace), server.stop(2*serverGrace+time.Second))
}

// warm waits for the first lists of the API server's informers before its hooks run. Most hooks poll
// the informers, and would lose a tenth of a second.
func (s *apiServer) warm(ctx context.Context) {
	s.informers.Start(s.lifetime)
	s.aggregator.APIRegistrationInformers.StartWithContext(ctx)
	ctx, cancel := context.WithTimeout(ctx, warmLimit)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !s.synced() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// synced reports whether all informers of the API server have their first list.
func (s *apiServer) synced() bool {
	now := make(chan struct{})
	close(now)
	for _, ok := range s.informers.WaitForCacheSync(now) {
		if !ok {
			return false
		}
	}
	for _, ok := range s.aggregator.APIRegistrationInformers.WaitForCacheSync(now) {
		if !ok {
			return false
		}
	}
	return true
}

// watch announces readiness and waits for the end: the context's, or that of
// the first part that fails.
func (c *ControlPlane) watch(ctx context.Context, guard *startGuard, server *running, failed <-chan error) error {
	ready := make(chan error, 1)
	go func() { ready <- guard.await(ctx) }()

	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ready:
			if err != nil {
				if ctx.Err() != nil {
					return nil //nolint:nilerr // the process was told to end
				}
				return err
			}
			close(c.ready)
			ready = nil
		case err := <-failed:
			return err
		case <-server.done:
			return ended("the API server", server.err)
		case <-c.config.Storage.Failed():
			return errors.New("the storage failed")
		}
	}
}

func ended(part string, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s ended although nobody stopped it", part)
}

// running is a part that runs in a goroutine.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed
}

func start(ctx context.Context, run func(context.Context) error) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = run(ctx)
	}()
	return r
}

// stop ends the part and waits for it, but no longer than grace, so that the following parts can stop
// in time.
func (r *running) stop(grace time.Duration) error {
	select {
	case <-r.done:
		return nil // whatever it returned has been reported
	default:
	}
	r.cancel()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-r.done:
		return r.err
	case <-timer.C:
		return nil
	}
}
