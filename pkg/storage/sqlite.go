package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/k3s-io/kine/pkg/drivers/generic"
	"github.com/k3s-io/kine/pkg/query"
	"github.com/k3s-io/kine/pkg/server"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

const (
	// tidyFrom is the free space in an SQLite database, in bytes, from which on some is
	// given back. It must also be a quarter of the file.
	tidyFrom int64 = 16 * mib
	// tidyPages is the number of pages that are given back at a time.
	tidyPages = 2000
)

// sqliteEngine is an SQLite database in a directory.
type sqliteEngine struct {
	dir  string
	lock *os.File
}

// SQLite returns a store in an SQLite database in dir.
func SQLite(dir string) *Kine { return newKine(&sqliteEngine{dir: dir}) }

// describe returns where the database is.
func (e *sqliteEngine) describe() string { return "the SQLite database in " + e.dir }

// prepare locks the directory.
func (e *sqliteEngine) prepare(context.Context) error {
	if e.lock != nil {
		return nil
	}
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return fmt.Errorf("cannot create data directory %s: %w", e.dir, err)
	}
	lock, err := lockFile(filepath.Join(e.dir, "lock"))
	if err != nil {
		return fmt.Errorf("cannot lock data directory %s: %w", e.dir, err)
	}
	e.lock = lock
	return nil
}

// check opens the database once. kine would try for five minutes without a word.
func (e *sqliteEngine) check(ctx context.Context) error {
	connector, err := sqlite.NewConnector(e.dataSource())
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", e.describe(), err)
	}
	db := sql.OpenDB(connector)
	if err := errors.Join(db.PingContext(ctx), db.Close()); err != nil {
		return fmt.Errorf("cannot open %s: %w", e.describe(), err)
	}
	return nil
}

// release unlocks the directory.
func (e *sqliteEngine) release() {
	if e.lock != nil {
		unlockFile(e.lock)
	}
}

// file returns the path of the database.
func (e *sqliteEngine) file() string { return filepath.Join(e.dir, "state.db") }

// dataSource returns the database with its settings. A confirmed write survives a loss of
// power, as in etcd. Free pages are given back a few at a time. The setting for that has
// to come first: it has no effect once the database has pages.
func (e *sqliteEngine) dataSource() string {
	settings := url.Values{
		"_pragma": {
			"busy_timeout(30000)", "auto_vacuum(incremental)", "journal_mode(wal)", "synchronous(full)",
			"journal_size_limit(16777216)", "cache_size(-2000)",
		},
		"_txlock": {"immediate"},
	}
	return (&url.URL{Scheme: "file", Path: e.file(), RawQuery: settings.Encode()}).String()
}

// open opens the database and creates the table.
func (e *sqliteEngine) open(ctx context.Context, running *sync.WaitGroup) (*sqlDialect, error) {
	connector, err := sqlite.NewConnector(e.dataSource())
	if err != nil {
		return nil, err
	}
	d, err := generic.OpenDB(ctx, running, "sqlite", connector, poolFor(), "?", false, nil)
	if err != nil {
		return nil, err
	}
	if err := execAll(ctx, d.DB,
		`CREATE TABLE IF NOT EXISTS kine (
			id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, created INTEGER, deleted INTEGER,
			create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB)`,
		`CREATE INDEX IF NOT EXISTS kine_by_name ON kine (name, id)`,
		`CREATE UNIQUE INDEX IF NOT EXISTS kine_by_predecessor ON kine (name, prev_revision)`,
	); err != nil {
		return nil, err
	}
	// One writer at a time is all that SQLite can do. Waiting here is cheaper than there.
	d.LastInsertID, d.LockWrites = true, true
	d.CompactSQL = compactSQL(`DELETE FROM kine WHERE id IN (%s)`, "?")
	d.PostCompactSQL = query.New(`PRAGMA wal_checkpoint(PASSIVE)`, "?", false, "PostCompact")
	d.GetSizeSQL = query.New(`SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()`, "?", false, "GetSize")
	d.TranslateErr = func(err error) error {
		var failed *sqlite.Error
		if errors.As(err, &failed) && failed.Code() == sqlitelib.SQLITE_CONSTRAINT_UNIQUE {
			return server.ErrKeyExists
		}
		return err
	}
	d.ErrCode = func(err error) string {
		if failed, ok := errors.AsType[*sqlite.Error](err); ok {
			return sqlite.ErrorCodeString[failed.Code()]
		}
		return errorClass(err)
	}
	dialect := &sqlDialect{Generic: d}
	dialect.sizes = func(ctx context.Context) (size, inUse int64, err error) {
		err = d.DB.QueryRowContext(ctx, `SELECT page_count * page_size, (page_count - freelist_count) * page_size
			FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()`).Scan(&size, &inUse)
		return size, inUse, err
	}
	return dialect, e.tidy(ctx, dialect)
}

// explain returns the error as it is: it names files alone.
func (*sqliteEngine) explain(err error) error { return err }

// tidy gives free pages back to the volume if there are many: at most some MiB, as writes
// wait meanwhile.
func (e *sqliteEngine) tidy(ctx context.Context, db *sqlDialect) error {
	size, inUse, err := db.sizes(ctx)
	if err != nil {
		return err
	}
	if free := size - inUse; free < tidyFrom || free < size/4 {
		return nil
	}
	db.Lock()
	defer db.Unlock()
	rows, err := db.DB.QueryContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", tidyPages))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() { // each step frees a page
	}
	return rows.Err()
}

// errorClass returns a label for an error that has no code. The text of an error is none:
// each has other ports and times.
func errorClass(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, sql.ErrNoRows):
		return "none"
	default:
		return "other"
	}
}
