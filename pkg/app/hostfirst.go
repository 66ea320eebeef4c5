package app

import (
	"context"
	"sync/atomic"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// hostFirst is the engine of the current term for the admission of Services and
// nodes, which outlives all terms.
type hostFirst struct{ engine atomic.Pointer[syncer.Engine] }

// noEngineError is returned between two terms.
type noEngineError struct{}

// Error implements error.
func (noEngineError) Error() string { return "the syncer has not started yet" }

// TenantMessage returns a text without names of the host.
func (e noEngineError) TenantMessage() string { return e.Error() }

// CreateHostFirst implements admission.HostFirst.
func (h *hostFirst) CreateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	if engine := h.engine.Load(); engine != nil {
		return engine.CreateHostFirst(ctx, kind, virtual, dryRun)
	}
	return nil, noEngineError{}
}

// UpdateHostFirst implements admission.HostFirst.
func (h *hostFirst) UpdateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	if engine := h.engine.Load(); engine != nil {
		return engine.UpdateHostFirst(ctx, kind, virtual, dryRun)
	}
	return nil, noEngineError{}
}

// ChangeHostFirst implements admission.HostChange.
func (h *hostFirst) ChangeHostFirst(ctx context.Context, kind string, virtual client.Object, change func(client.Object) error, dryRun bool) error {
	if engine := h.engine.Load(); engine != nil {
		return engine.ChangeHostFirst(ctx, kind, virtual, change, dryRun)
	}
	return noEngineError{}
}
