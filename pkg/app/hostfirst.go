package app

import (
	"context"
	"errors"
	"sync/atomic"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// hostFirst is the engine of the current term for the admission of Services and
// nodes, which outlives all terms.
type hostFirst struct{ engine atomic.Pointer[syncer.Engine] }

// errNoEngine is the answer between two terms.
var errNoEngine = errors.New("the syncer has not started yet; try again")

// CreateHostFirst implements admission.HostFirst.
func (h *hostFirst) CreateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	if engine := h.engine.Load(); engine != nil {
		return engine.CreateHostFirst(ctx, kind, virtual, dryRun)
	}
	return nil, errNoEngine
}

// UpdateHostFirst implements admission.HostFirst.
func (h *hostFirst) UpdateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	if engine := h.engine.Load(); engine != nil {
		return engine.UpdateHostFirst(ctx, kind, virtual, dryRun)
	}
	return nil, errNoEngine
}

// ChangeHostFirst implements admission.HostChange.
func (h *hostFirst) ChangeHostFirst(ctx context.Context, kind string, virtual client.Object, change func(client.Object) error, dryRun bool) error {
	if engine := h.engine.Load(); engine != nil {
		return engine.ChangeHostFirst(ctx, kind, virtual, change, dryRun)
	}
	return errNoEngine
}
