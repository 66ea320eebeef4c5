package storage

import (
	"cmp"
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/k3s-io/kine/pkg/drivers/generic"
	"github.com/k3s-io/kine/pkg/query"
	"github.com/k3s-io/kine/pkg/server"
)

// oldestPostgres is the oldest version of PostgreSQL that is used, as its number.
const oldestPostgres = 130000

// SQLSTATE codes of PostgreSQL.
const (
	pgInvalidPassword      = "28P01"
	pgInvalidAuthorization = "28000"
	pgNoDatabase           = "3D000"
	pgForbidden            = "42501"
	pgDuplicateDatabase    = "42P04"
	pgUniqueViolation      = "23505"
	pgReadOnly             = "25006"
	pgTooLarge             = "54000"
	pgInvalidText          = "22021"
)

// postgresEngine is a database of a PostgreSQL server.
type postgresEngine struct {
	databaseAddress
	config *pgx.ConnConfig
	// now returns the engine of the data source as it is now.
	now func() (sqlEngine, error)
}

// newPostgres returns the engine of a data source without its scheme.
func newPostgres(address, name, caFile string, encryption *tls.Config, now func() (sqlEngine, error)) (sqlEngine, error) {
	parsed, err := url.Parse("postgres://" + address)
	if err != nil {
		return nil, problemf("cannot use the data source: it is no URL; special characters of the password must be percent-encoded")
	}
	if strings.Trim(parsed.Path, "/") == "" {
		parsed.Path = "/" + name
	}
	if encryption != nil {
		values := parsed.Query()
		if !values.Has("sslmode") {
			values.Set("sslmode", "verify-full")
		}
		if caFile != "" {
			values.Set("sslrootcert", caFile)
		}
		parsed.RawQuery = values.Encode()
	}
	config, err := pgx.ParseConfig(parsed.String())
	if err != nil {
		return nil, problemf("cannot use the data source: it has parameters that PostgreSQL does not know")
	}
	if encryption != nil && config.TLSConfig != nil {
		config.TLSConfig.GetClientCertificate = encryption.GetClientCertificate
	}
	config.ConnectTimeout = dialTimeout
	config.DialFunc = newDatabaseDialer().DialContext
	milliseconds := strconv.Itoa(lockSeconds * 1000)
	config.RuntimeParams["application_name"] = cmp.Or(config.RuntimeParams["application_name"], "sublet")
	config.RuntimeParams["lock_timeout"] = milliseconds
	// A replica that is gone must not keep the lock of all writes.
	config.RuntimeParams["idle_in_transaction_session_timeout"] = milliseconds
	return &postgresEngine{
		databaseAddress: databaseAddress{
			kind: "PostgreSQL", host: fmt.Sprintf("%s:%d", config.Host, config.Port), user: config.User, name: config.Database,
		},
		config: config, now: now,
	}, nil
}

// prepare checks server, user and database, and creates the database if it is missing.
func (e *postgresEngine) prepare(ctx context.Context) error {
	err := e.check(ctx, e.config)
	if pgCode(err) != pgNoDatabase {
		return e.explain(err)
	}
	maintenance := e.config.Copy()
	maintenance.Database = "postgres"
	conn, err := pgx.ConnectConfig(ctx, maintenance)
	if err != nil {
		return e.missingDatabase()
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{e.name}.Sanitize())
	switch pgCode(err) {
	case "", pgDuplicateDatabase, pgUniqueViolation: // another replica was faster
		return e.explain(e.check(ctx, e.config))
	case pgForbidden:
		return e.missingDatabase()
	default:
		return e.explain(err)
	}
}

// check connects once and reads what kind of server it is.
func (e *postgresEngine) check(ctx context.Context, config *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var (
		number  int
		version string
		// readOnly is also true for a replica of another server.
		readOnly bool
		schema   string
		create   bool
	)
	const question = `SELECT current_setting('server_version_num')::int, current_setting('server_version'),
		current_setting('transaction_read_only')::bool,
		COALESCE(current_schema(), ''), COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)`
	if err := conn.QueryRow(ctx, question).Scan(&number, &version, &readOnly, &schema, &create); err != nil {
		return err
	}
	switch {
	case number < oldestPostgres:
		return e.tooOld(version, strconv.Itoa(oldestPostgres/10000))
	case readOnly:
		return e.readOnly()
	case schema == "" && config.RuntimeParams["search_path"] != "":
		_, err := conn.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{config.RuntimeParams["search_path"]}.Sanitize())
		return err
	case !create:
		return e.forbidden()
	}
	return nil
}

// rotate gives a new connection the password and the certificates of now.
func (e *postgresEngine) rotate(_ context.Context, config *pgx.ConnConfig) error {
	if current, ok := rotated(e.now, e); ok {
		config.Password, config.TLSConfig, config.Fallbacks = current.config.Password, current.config.TLSConfig, current.config.Fallbacks
	}
	return nil
}

// explain returns an error in words.
func (e *postgresEngine) explain(err error) error {
	var known *databaseError
	switch code := pgCode(err); {
	case err == nil, errors.As(err, &known):
		return err
	case code == pgInvalidPassword:
		return e.wrongPassword("wrong user or password")
	case code == pgInvalidAuthorization:
		return e.wrongPassword(pgMessage(err))
	case code == pgForbidden:
		return e.forbidden()
	case code == pgReadOnly:
		return e.readOnly()
	case code != "":
		return e.busy(pgMessage(err))
	}
	if problem := e.networkProblem(err); problem != nil {
		return problem
	}
	return e.busy(lastCause(err))
}

// pgCode returns the code of an error of the server, or an empty string.
func pgCode(err error) string {
	if failed, ok := errors.AsType[*pgconn.PgError](err); ok {
		return failed.Code
	}
	return ""
}

// pgMessage returns the server's words for an error.
func pgMessage(err error) string {
	if failed, ok := errors.AsType[*pgconn.PgError](err); ok {
		return failed.Message
	}
	return ""
}

// open opens the database and creates the table.
func (e *postgresEngine) open(ctx context.Context, running *sync.WaitGroup) (*sqlDialect, error) {
	d, err := generic.OpenDB(ctx, running, "pgx", stdlib.GetConnector(*e.config, stdlib.OptionBeforeConnect(e.rotate)), poolFor(), "$", true, nil)
	if err != nil {
		return nil, e.explain(err)
	}
	// Two replicas may create the table at the same time, which PostgreSQL takes for a conflict.
	dialect := &sqlDialect{
		Generic: d, lock: "SELECT pg_advisory_xact_lock(hashtext('sublet/' || current_schema()))",
		continueFrom: "SELECT setval(pg_get_serial_sequence('kine', 'id'), %d)",
		isReadOnly:   func(err error) bool { return pgCode(err) == pgReadOnly },
		isInvalid:    func(err error) bool { return pgCode(err) == pgTooLarge || pgCode(err) == pgInvalidText },
	}
	if err := dialect.inOrder(ctx, func(tx *sql.Tx) error {
		for _, statement := range []string{
			`CREATE TABLE IF NOT EXISTS kine (
				id BIGSERIAL PRIMARY KEY, name TEXT COLLATE "C", created INTEGER, deleted INTEGER,
				create_revision BIGINT, prev_revision BIGINT, lease INTEGER, value BYTEA, old_value BYTEA)`,
			`CREATE INDEX IF NOT EXISTS kine_by_name ON kine (name, id DESC, deleted)`,
			`CREATE UNIQUE INDEX IF NOT EXISTS kine_by_predecessor ON kine (name, prev_revision)`,
		} {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, e.explain(err)
	}
	d.CompactSQL = compactSQL(`DELETE FROM kine WHERE id IN (%s)`, "$")
	const sizeSQL = `SELECT pg_total_relation_size('kine')`
	d.GetSizeSQL = query.New(sizeSQL, "$", true, "GetSize")
	d.TranslateErr = func(err error) error {
		if pgCode(err) == pgUniqueViolation {
			return server.ErrKeyExists
		}
		return err
	}
	d.ErrCode = func(err error) string { return cmp.Or(pgCode(err), errorClass(err)) }
	// A string of PostgreSQL has no zero byte. The next one that no key has sorts the same.
	d.TranslateStartKeyFunc = func(key string) string {
		if start, found := strings.CutSuffix(key, "\x00"); found {
			return start + "\x01"
		}
		return key
	}
	dialect.sizes = func(ctx context.Context) (size, inUse int64, err error) {
		err = d.DB.QueryRowContext(ctx, sizeSQL).Scan(&size)
		return size, size, err
	}
	return dialect, nil
}

// tidy does nothing: the server vacuums.
func (*postgresEngine) tidy(context.Context, *sqlDialect) error { return nil }

// release does nothing: nothing was taken.
func (*postgresEngine) release() {}
