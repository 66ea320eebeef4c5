package storage

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/k3s-io/kine/pkg/server"
)

// load creates keys in one transaction, which is many times faster than one for each.
func (k *Kine) load(ctx context.Context, entries []Entry) error {
	dialect := k.dialect
	if dialect.lock == "" {
		dialect.Lock()
		defer dialect.Unlock()
	}
	err := dialect.inOrder(ctx, func(tx *sql.Tx) error {
		for _, entry := range entries {
			if err := dialect.loadEntry(ctx, tx, entry); err != nil {
				return fmt.Errorf("cannot create key %s: %w", entry.Key, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot write to %s: %w", k.engine.describe(), err)
	}
	return nil
}

// loadEntry inserts the row of a new key, as kine does.
func (d *sqlDialect) loadEntry(ctx context.Context, tx *sql.Tx, entry Entry) error {
	const noPrevious, created, notDeleted = 0, 1, 0
	key := string(entry.Key)
	result, err := tx.ExecContext(ctx, d.InsertSQL.Query,
		noPrevious, key, created, notDeleted, noPrevious, entry.TTL, entry.Value, key, noPrevious)
	if err != nil {
		return d.TranslateErr(err)
	}
	written, err := result.RowsAffected()
	if err == nil && written == 0 {
		err = server.ErrKeyExists
	}
	return err
}
