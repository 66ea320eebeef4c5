package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/sublet-dev/sublet/api/syncz"
)

// serve runs an assembled API server and the controllers on it.
func (c *ControlPlane) serve(ctx context.Context, server *apiServer) error {
	boot, err := newBootstrap(&c.config, server.loopback)
	if err != nil {
		return err
	}
	guard, err := newStartGuard(server.loopback, c.config.Clock, boot.moves.Load)
	if err != nil {
		return err
	}
	c.checks.Store(&[]func() syncz.Check{guard.check, boot.check})
	generic := server.aggregator.GenericAPIServer
	manager := &controllers{config: &c.config, plane: c, server: server, booted: boot.done, started: make(chan struct{})}
	// As hooks, these are part of /readyz. The controllers are, because the
	// server is not ready while any of their informers is still empty.
	for name, hook := range map[string]genericapiserver.PostStartHookFunc{
		"sublet/bootstrap":   boot.run,
		"sublet/controllers": manager.await,
		"sublet/openapi":     server.openAPI.start,
	} {
		if err := generic.AddPostStartHook(name, hook); err != nil {
			return fmt.Errorf("cannot prepare the API server: %w", err)
		}
	}
	generic.ShutdownTimeout = serverGrace
	// Not the aggregator's own preparation, which adds nothing but its way to
	// describe the API.
	prepared := generic.PrepareRun()
	server.openAPI.install(generic.Handler.NonGoRestfulMux)
	for path, handler := range c.config.Handlers {
		generic.Handler.NonGoRestfulMux.Handle(path, handler)
	}

	// The parts do not stop with ctx, but one after the other below.
	base := context.WithoutCancel(ctx)
	c.loopback.Open(generic.Handler)
	stopServer := start(base, func(ctx context.Context) error {
		server.warm(ctx)
		if err := prepared.RunWithContext(ctx); err != nil {
			return fmt.Errorf("the API server failed: %w", err)
		}
		return nil
	})

	stopControllers := start(base, manager.run)

	cause := c.watch(ctx, guard, stopServer, stopControllers, boot.failed)
	return errors.Join(cause, stopControllers.stop(controllersGrace), stopServer.stop(serverGrace+time.Second))
}

// warm fills the informers that the API server itself needs before it runs its
// hooks. Most of those look once, and then again after a tenth of a second.
func (s *apiServer) warm(ctx context.Context) {
	s.informers.Start(ctx.Done())
	s.aggregator.APIRegistrationInformers.Start(ctx.Done())
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

// synced tells whether all informers of the API server have their first list.
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
func (c *ControlPlane) watch(ctx context.Context, guard *startGuard, server, controllers *running, failed <-chan error) error {
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
		case <-controllers.done:
			return ended("the controllers", controllers.err)
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

// stop ends the part and waits for it, but not longer than grace: what comes
// after it has to stop in time too.
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
