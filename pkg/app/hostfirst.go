package app

import (
	"context"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// hostFirst gives admission the current sync engine for host-first writes. Admission lives as
// long as the API server, while each leader term and each standby has an engine of its own.
type hostFirst struct {
	mu sync.Mutex
	// patience is how long a request waits for the next engine while there is none. 0 means
	// that it fails at once.
	patience time.Duration
	engine   *syncer.Engine
	changed  chan struct{} // closed when engine changes
}

// set sets the current engine, nil for none.
func (h *hostFirst) set(engine *syncer.Engine) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.engine = engine
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// setPatience sets how long a request waits for the next engine.
func (h *hostFirst) setPatience(patience time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.patience = patience
}

// load returns the current engine, or nil and a channel that is closed when the engine changes.
func (h *hostFirst) load() (engine *syncer.Engine, changed <-chan struct{}, patience time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.engine, h.changed, h.patience
}

// await returns the current engine. While there is none, it waits for the next one.
func (h *hostFirst) await(ctx context.Context) (*syncer.Engine, error) {
	engine, changed, patience := h.load()
	if engine != nil {
		return engine, nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for engine == nil {
		select {
		case <-changed:
			engine, changed, _ = h.load()
		case <-ctx.Done():
			return nil, noEngineError{}
		case <-timer.C:
			return nil, noEngineError{}
		}
	}
	return engine, nil
}

// noEngineError is returned while there is no engine.
type noEngineError struct{}

// Error implements error.
func (noEngineError) Error() string { return "the syncer has not started yet" }

// TenantMessage returns a message for tenants, without names of host objects.
func (e noEngineError) TenantMessage() string { return e.Error() }

// CreateHostFirst implements admission.HostFirst.
func (h *hostFirst) CreateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	engine, err := h.await(ctx)
	if err != nil {
		return nil, err
	}
	return engine.CreateHostFirst(host.WithHostFirst(ctx), kind, virtual, dryRun)
}

// UpdateHostFirst implements admission.HostFirst.
func (h *hostFirst) UpdateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	engine, err := h.await(ctx)
	if err != nil {
		return nil, err
	}
	return engine.UpdateHostFirst(host.WithHostFirst(ctx), kind, virtual, dryRun)
}

// ChangeHostFirst implements admission.HostChange.
func (h *hostFirst) ChangeHostFirst(ctx context.Context, kind string, virtual client.Object, change func(client.Object) error, dryRun bool) error {
	engine, err := h.await(ctx)
	if err != nil {
		return err
	}
	return engine.ChangeHostFirst(host.WithHostFirst(ctx), kind, virtual, change, dryRun)
}
