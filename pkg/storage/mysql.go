package storage

import (
	"cmp"
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"log"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/k3s-io/kine/pkg/drivers/generic"
	"github.com/k3s-io/kine/pkg/query"
	"github.com/k3s-io/kine/pkg/server"
)

// Numbers of errors of MySQL and MariaDB.
const (
	mysqlForbidden     = 1044
	mysqlWrongPassword = 1045
	mysqlNoDatabase    = 1049
	mysqlDuplicateKey  = 1062
	mysqlTooLarge      = 1153
	mysqlNoTable       = 1142
	mysqlReadOnly      = 1290
	mysqlSnapshot      = 1020
	mysqlTooLong       = 1406
	mysqlNeedsTLS      = 3159
	mysqlPlugin        = 1698
)

// Oldest versions that have what kine asks for.
const (
	oldestMariaDB = "10.6"
	oldestMySQL   = "8.0"
)

// mysqlEngine is a database of a MySQL or MariaDB server.
type mysqlEngine struct {
	databaseAddress
	config *mysql.Config
	// now returns the engine of the data source as it is now.
	now func() (sqlEngine, error)
}

// newMySQL returns the engine of a data source without its scheme.
func newMySQL(address, name string, encryption *tls.Config, now func() (sqlEngine, error)) (sqlEngine, error) {
	config, err := mysql.ParseDSN(address)
	if err != nil {
		return nil, problemf("cannot use the data source: it must be mysql://user:password@tcp(host:port)/database")
	}
	config.DBName = cmp.Or(config.DBName, name)
	if encryption != nil {
		config.TLS = encryption.Clone()
		if config.TLS.ServerName == "" {
			config.TLS.ServerName = hostOf(config.Addr)
		}
	}
	dialer := newDatabaseDialer()
	config.DialFunc = dialer.DialContext
	config.Timeout = dialTimeout
	// Arguments are sent in the text of a statement, in one message instead of three.
	config.InterpolateParams = true
	// After a failover, connections may lead to a server that is a replica by now. They would stay there.
	config.RejectReadOnly = true
	config.Logger = log.New(io.Discard, "", 0) // errors are returned too
	if config.Params == nil {
		config.Params = map[string]string{}
	}
	config.Params["innodb_lock_wait_timeout"] = strconv.Itoa(lockSeconds)
	// A replica that is gone must not keep the lock of all writes. The server has no other limit for that.
	config.Params["wait_timeout"] = strconv.Itoa(2 * lockSeconds)
	// Without it, the server stores the beginning of a key that is too long, which may be another key.
	config.Params["sql_mode"] = "CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')"
	return &mysqlEngine{
		databaseAddress: databaseAddress{kind: "MySQL", host: config.Addr, user: config.User, name: config.DBName},
		config:          config, now: now,
	}, nil
}

// hostOf returns the host of an address.
func hostOf(address string) string {
	if i := strings.LastIndex(address, ":"); i > 0 {
		return strings.Trim(address[:i], "[]")
	}
	return address
}

// prepare checks server, user and database, and creates the database if it is missing.
func (e *mysqlEngine) prepare(ctx context.Context) error {
	err := e.check(ctx)
	if mysqlNumber(err) != mysqlNoDatabase {
		return e.explain(err)
	}
	without := e.config.Clone()
	without.DBName = ""
	if err := e.withConnection(ctx, without, func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS `"+strings.ReplaceAll(e.name, "`", "``")+"`")
		return err
	}); err != nil {
		if mysqlNumber(err) == mysqlForbidden {
			return e.missingDatabase()
		}
		return e.explain(err)
	}
	return e.explain(e.check(ctx))
}

// withConnection calls a function with a connection.
func (e *mysqlEngine) withConnection(ctx context.Context, config *mysql.Config, use func(*sql.DB) error) error {
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	if err := db.PingContext(ctx); err != nil {
		return err
	}
	return use(db)
}

// check connects once and reads what kind of server it is.
func (e *mysqlEngine) check(ctx context.Context) error {
	return e.withConnection(ctx, e.config, func(db *sql.DB) error {
		var version string
		var readOnly bool
		if err := db.QueryRowContext(ctx, "SELECT VERSION(), @@global.read_only").Scan(&version, &readOnly); err != nil {
			return err
		}
		oldest := oldestMySQL
		if strings.Contains(strings.ToLower(version), "mariadb") {
			oldest = oldestMariaDB
		}
		switch {
		case isOlder(version, oldest):
			return e.tooOld(version, oldest)
		case readOnly:
			return e.readOnly()
		}
		return nil
	})
}

// isOlder reports whether a version is older than another, by its first two numbers.
func isOlder(version, oldest string) bool {
	var got, want [2]int
	for i, part := range strings.SplitN(version, ".", 3)[:min(2, strings.Count(version, ".")+1)] {
		got[i], _ = strconv.Atoi(strings.TrimFunc(part, func(r rune) bool { return r < '0' || r > '9' }))
	}
	for i, part := range strings.SplitN(oldest, ".", 2) {
		want[i], _ = strconv.Atoi(part)
	}
	return got[0] < want[0] || got[0] == want[0] && got[1] < want[1]
}

// explain returns an error in words.
func (e *mysqlEngine) explain(err error) error {
	var known *databaseError
	switch number := mysqlNumber(err); {
	case err == nil, errors.As(err, &known):
		return err
	case number == mysqlWrongPassword, number == mysqlPlugin:
		return e.wrongPassword("wrong user or password, or the server wants encryption")
	case number == mysqlForbidden, number == mysqlNoTable:
		return e.forbidden()
	case number == mysqlReadOnly:
		return e.readOnly()
	case number == mysqlNeedsTLS, errors.Is(err, mysql.ErrNoTLS):
		return problemf("cannot agree on the encryption of the connection to %s: %s", e.server(), lastCause(err))
	}
	if problem := e.networkProblem(err); problem != nil {
		return problem
	}
	return e.busy(lastCause(err))
}

// mysqlNumber returns the number of an error of the server, or 0.
func mysqlNumber(err error) uint16 {
	if failed, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return failed.Number
	}
	return 0
}

// open opens the database and creates the tables.
func (e *mysqlEngine) open(ctx context.Context, running *sync.WaitGroup) (*sqlDialect, error) {
	config := e.config.Clone()
	err := config.Apply(mysql.BeforeConnect(e.rotate))
	if err != nil {
		return nil, e.explain(err)
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, e.explain(err)
	}
	d, err := generic.OpenDB(ctx, running, "mysql", connector, poolFor(), "?", false, nil)
	if err != nil {
		return nil, e.explain(err)
	}
	if err := execAll(ctx, d.DB,
		`CREATE TABLE IF NOT EXISTS kine (
			id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, name VARBINARY(630), created INTEGER, deleted INTEGER,
			create_revision BIGINT UNSIGNED, prev_revision BIGINT UNSIGNED, lease INTEGER, value LONGBLOB, old_value LONGBLOB,
			INDEX kine_by_name (name, id), UNIQUE INDEX kine_by_predecessor (name, prev_revision)) ENGINE=InnoDB`,
		`CREATE TABLE IF NOT EXISTS kine_order (id INTEGER PRIMARY KEY) ENGINE=InnoDB`,
		`INSERT IGNORE INTO kine_order (id) VALUES (1)`,
	); err != nil {
		return nil, e.explain(err)
	}
	d.LastInsertID = true
	d.DB.SetConnMaxIdleTime(lockSeconds * time.Second) // before the server closes them
	d.CompactSQL = compactSQL(`DELETE kine FROM kine INNER JOIN (%s) AS old ON kine.id = old.id`, "?")
	const sizeSQL = `SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.TABLES
		WHERE table_schema = DATABASE() AND table_name = 'kine'`
	d.GetSizeSQL = query.New(sizeSQL, "?", false, "GetSize")
	d.TranslateErr = func(err error) error {
		if mysqlNumber(err) == mysqlDuplicateKey {
			return server.ErrKeyExists
		}
		return err
	}
	d.TxRetry = func(err error) bool { return mysqlNumber(err) == mysqlSnapshot }
	d.ErrCode = func(err error) string {
		if number := mysqlNumber(err); number != 0 {
			return strconv.Itoa(int(number))
		}
		return errorClass(err)
	}
	dialect := &sqlDialect{
		Generic: d, lock: "SELECT id FROM kine_order WHERE id = 1 FOR UPDATE",
		// RejectReadOnly returns this error.
		isReadOnly: func(err error) bool { return errors.Is(err, driver.ErrBadConn) },
		isInvalid: func(err error) bool {
			number := mysqlNumber(err)
			return number == mysqlTooLarge || number == mysqlTooLong || errors.Is(err, mysql.ErrPktTooLarge)
		},
	}
	dialect.sizes = func(ctx context.Context) (size, inUse int64, err error) {
		err = d.DB.QueryRowContext(ctx, sizeSQL).Scan(&size)
		return size, size, err
	}
	return dialect, nil
}

// rotate gives a new connection the password and the certificates of now.
func (e *mysqlEngine) rotate(_ context.Context, config *mysql.Config) error {
	if current, ok := rotated(e.now, e); ok {
		config.Passwd, config.TLS = current.config.Passwd, current.config.TLS
	}
	return nil
}

// tidy does nothing: free space is used again by the server.
func (*mysqlEngine) tidy(context.Context, *sqlDialect) error { return nil }

// release does nothing: nothing was taken.
func (*mysqlEngine) release() {}
