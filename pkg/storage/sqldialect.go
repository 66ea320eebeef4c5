package storage

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/k3s-io/kine/pkg/drivers/generic"
	"github.com/k3s-io/kine/pkg/query"
	"github.com/k3s-io/kine/pkg/server"
)

// sqlDialect is kine's access to one database, with writes in the order of their
// revisions.
//
// kine assigns the revision of a write when the write begins, but it becomes visible when it is committed.
// A list in between may have a later revision without this write, and a watch from there would miss
// it. So each write to a shared database takes a lock before it gets its revision, and releases it
// with the commit.
type sqlDialect struct {
	*generic.Generic
	// lock is the statement that takes the lock. It is empty if the database has only one writer.
	lock string
	// continueFrom is the statement that sets the number from which further row numbers continue.
	// It is empty if they continue from the highest existing one.
	continueFrom string
	// sizes returns the size of the database and the part that holds data.
	sizes func(ctx context.Context) (size, inUse int64, err error)
	// isReadOnly reports whether the server denied a write because it takes none, as one that was
	// the primary before a failover. nil means that no server does.
	isReadOnly func(err error) bool
	// isInvalid reports whether the server refused a request because of its key or value, which tenants
	// choose. nil means that it takes all.
	isInvalid func(err error) bool

	poll pollConnection
}

var _ server.Dialect = &sqlDialect{}

// rowsKey is the context key under which the rows of a list are stored, to check their error. kine itself
// ignores it.
type rowsKey struct{}

// keepRows stores the rows in the context, if its creator has asked for them.
func keepRows(ctx context.Context, rows *sql.Rows) {
	if kept, ok := ctx.Value(rowsKey{}).(**sql.Rows); ok {
		*kept = rows
	}
}

// ListCurrent returns the rows of a range.
func (d *sqlDialect) ListCurrent(ctx context.Context, key, end string, limit int64, includeDeleted, keysOnly bool) (*sql.Rows, error) {
	rows, err := d.Generic.ListCurrent(ctx, key, end, limit, includeDeleted, keysOnly)
	keepRows(ctx, rows)
	return rows, err
}

// List returns the rows of a range at a revision.
func (d *sqlDialect) List(ctx context.Context, key, end string, limit, revision int64, includeDeleted, keysOnly bool) (*sql.Rows, error) {
	rows, err := d.Generic.List(ctx, key, end, limit, revision, includeDeleted, keysOnly)
	keepRows(ctx, rows)
	return rows, err
}

// BeginTx begins a transaction. The one that kine asks for to insert a row begins with
// the insert.
func (d *sqlDialect) BeginTx(ctx context.Context, opts *sql.TxOptions) (server.Transaction, error) {
	if opts != nil && opts.Isolation == sql.LevelReadCommitted {
		return &insertTx{dialect: d}, nil
	}
	return d.Generic.BeginTx(ctx, opts)
}

// Fill writes a row for a revision that no write will use. No write with that revision can be in progress.
func (d *sqlDialect) Fill(ctx context.Context, revision int64) error {
	if d.lock == "" {
		return d.Generic.Fill(ctx, revision)
	}
	return d.inOrder(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, d.FillSQL.Query, revision, fmt.Sprintf("gap-%d", revision), 0, 1, 0, 0, 0, nil, nil)
		return err
	})
}

// FillRetryDelay does nothing, because revisions become visible in order.
func (d *sqlDialect) FillRetryDelay(context.Context) {}

// inOrder runs a write while it has the lock. A server that takes no writes loses its connections.
func (d *sqlDialect) inOrder(ctx context.Context, write func(*sql.Tx) error) error {
	err := d.writeInOrder(ctx, write)
	if err != nil && d.isReadOnly != nil && d.isReadOnly(err) {
		d.leaveServer()
	}
	return err
}

// writeInOrder runs a write for inOrder.
func (d *sqlDialect) writeInOrder(ctx context.Context, write func(*sql.Tx) error) error {
	tx, err := d.DB.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if d.lock != "" {
		if _, err := tx.ExecContext(ctx, d.lock); err != nil {
			return err
		}
	}
	if err := write(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// insert writes a row and returns its number, or 0 if the key has another revision.
func (d *sqlDialect) insert(ctx context.Context, args ...any) (id int64, err error) {
	err = d.inOrder(ctx, func(tx *sql.Tx) error {
		if !d.LastInsertID {
			rows, err := tx.QueryContext(ctx, d.InsertReturningSQL.Query, args...)
			if err != nil {
				return err
			}
			defer func() { _ = rows.Close() }()
			if rows.Next() {
				err = rows.Scan(&id)
			}
			return cmp.Or(err, rows.Err())
		}
		result, err := tx.ExecContext(ctx, d.InsertSQL.Query, args...)
		if err != nil {
			return err
		}
		if written, err := result.RowsAffected(); err != nil || written == 0 {
			return err
		}
		id, err = result.LastInsertId()
		return err
	})
	if err != nil {
		return 0, d.TranslateErr(err)
	}
	return id, nil
}

// insertTx is a transaction of one insert.
type insertTx struct {
	server.Transaction // never used for an insert
	dialect            *sqlDialect
}

// Insert writes a row.
func (t *insertTx) Insert(ctx context.Context, key string, created, deleted bool, previous, ttl int64, value []byte) (int64, error) {
	if t.dialect.lock == "" {
		return t.dialect.Insert(ctx, key, created, deleted, previous, ttl, value)
	}
	return t.dialect.insert(ctx, previous, key, toInt(created), toInt(deleted), previous, ttl, value, key, previous)
}

// Commit does nothing: Insert has committed.
func (*insertTx) Commit() error { return nil }

// Rollback does nothing: Insert has rolled back.
func (*insertTx) Rollback() error { return nil }

// toInt returns 1 for true.
func toInt(value bool) int {
	if value {
		return 1
	}
	return 0
}

// compactSQL returns the statement that deletes the revisions that are replaced or
// deleted between two revisions, with the parameters from, to, from, to. parameter is the mark of a
// parameter. "$" has a number behind it.
func compactSQL(format, parameter string) *query.Named {
	return query.New(fmt.Sprintf(format, `
		SELECT prev_revision AS id FROM kine
		WHERE id > ? AND id <= ? AND prev_revision <> 0 AND name <> 'compact_rev_key'
		UNION ALL
		SELECT id FROM kine WHERE id > ? AND id <= ? AND deleted <> 0`), parameter, parameter == "$", "Compact")
}

// poolFor returns the limits of the connections to a database.
func poolFor() generic.ConnectionPoolConfig {
	return generic.ConnectionPoolConfig{
		MaxIdle: extraConnections, MaxOpen: databaseSlots + extraConnections, MaxIdleTime: 2 * time.Minute,
	}
}

// execAll runs statements one after the other.
func execAll(ctx context.Context, db *sql.DB, statements ...string) error {
	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
