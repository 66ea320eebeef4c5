package app

import (
	"context"
	"fmt"

	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// SnapshotClasses returns the snapshot classes of the host that the tenant sees.
func (v hostView) SnapshotClasses(ctx context.Context) ([]policy.SnapshotClass, error) {
	ctx, cancel := context.WithTimeout(ctx, hostViewTimeout)
	defer cancel()
	reader, err := v.reader(ctx, "volumesnapshotclasses")
	if err != nil {
		return nil, err
	}
	classes, err := kinds.ListSnapshotClasses(ctx, reader)
	if err != nil {
		return nil, fmt.Errorf("cannot list snapshot classes of the host: %w", err)
	}
	return classes, nil
}
