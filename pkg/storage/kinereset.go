package storage

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
)

// reset makes the database an empty store at the given revision, or at its own if that is higher. An
// interrupted reset changes nothing.
func (k *Kine) reset(ctx context.Context, revision int64) error {
	if err := k.retry(ctx, k.prepare); err != nil {
		return err
	}
	var running sync.WaitGroup
	opened, stop := context.WithCancel(ctx)
	defer running.Wait()
	defer stop()
	dialect, err := k.engine.open(opened, &running)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", k.engine.describe(), err)
	}
	if err := dialect.reset(ctx, revision); err != nil {
		return fmt.Errorf("cannot empty %s: %w", k.engine.describe(), err)
	}
	return nil
}

// reset replaces all rows by the one that kine has about its last compaction. Its number
// is the revision of the store, and the revision in it the one that was compacted.
func (d *sqlDialect) reset(ctx context.Context, revision int64) error {
	tx, err := d.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if d.lock != "" {
		if _, err := tx.ExecContext(ctx, d.lock); err != nil {
			return err
		}
	}
	if err := d.replaceRows(ctx, tx, revision); err != nil {
		return err
	}
	return tx.Commit()
}

func (d *sqlDialect) replaceRows(ctx context.Context, tx *sql.Tx, revision int64) error {
	var last int64
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(id), 0) FROM kine`).Scan(&last); err != nil {
		return err
	}
	revision = max(revision, last)
	statements := []string{
		`DELETE FROM kine`,
		fmt.Sprintf(`INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, old_value)
			VALUES (%d, 'compact_rev_key', 1, 0, 0, %d, 0, '', NULL)`, revision, revision),
	}
	if d.continueFrom != "" {
		statements = append(statements, fmt.Sprintf(d.continueFrom, revision))
	}
	for _, statement := range statements {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
