package storage

import (
	"context"
	"fmt"
)

// purge deletes the values that were replaced before the last compaction. kine stores the previous value in
// the row of the current one, but after a compaction no event needs it.
func (k *Kine) purge(ctx context.Context) error {
	compacted, err := k.log.CompactRevision(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the last compaction of %s: %w", k.engine.describe(), err)
	}
	if err := k.dialect.forget(ctx, compacted); err != nil {
		return fmt.Errorf("cannot delete replaced values of %s: %w", k.engine.describe(), err)
	}
	if k.local() == nil {
		return nil
	}
	return k.defragment(ctx)
}

// forget deletes the replaced values in rows up to a revision.
func (d *sqlDialect) forget(ctx context.Context, revision int64) error {
	if d.lock == "" {
		d.Lock()
		defer d.Unlock()
	}
	_, err := d.DB.ExecContext(ctx, fmt.Sprintf(`UPDATE kine SET old_value = NULL WHERE id <= %d AND old_value IS NOT NULL`, revision))
	return err
}
