package storage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

const (
	// dialTimeout bounds one attempt to reach a database.
	dialTimeout = 5 * time.Second
	// lockSeconds is how long a write waits for others, and how long a writer that is
	// silent may keep them waiting.
	lockSeconds = 10
)

// DatabaseOptions configure the connection to a database outside of the process.
type DatabaseOptions struct {
	// DataSource is the address with user and password, in the form of vCluster:
	// mysql://user:password@tcp(host:port)/database or
	// postgres://user:password@host:port/database.
	DataSource string
	// DataSourceFile is a file with the data source, instead of DataSource.
	DataSourceFile string
	// Name is the name of the database if the data source has none.
	Name string
	// TLS has the certificates for an encrypted connection. Without any, only the data source
	// decides about encryption.
	TLS TLSFiles
}

// Database returns a store in a database outside of the process. It reads the files at each attempt to
// start, so that an operator can correct them. Its errors never contain the data source, which has a
// password.
func Database(options DatabaseOptions) *Kine { return newKine(&externalEngine{options: options}) }

// Location returns server and name of the database, without user and password.
func (o DatabaseOptions) Location() (string, error) {
	engine, err := o.engine()
	if err != nil {
		return "", err
	}
	return engine.describe(), nil
}

// externalEngine is a database of the kind in its data source.
type externalEngine struct {
	sqlEngine

	options DatabaseOptions
}

// describe returns the database in words.
func (e *externalEngine) describe() string {
	if e.sqlEngine == nil {
		return "the database"
	}
	return e.sqlEngine.describe()
}

// prepare reads the data source and checks the database.
func (e *externalEngine) prepare(ctx context.Context) error {
	engine, err := e.options.engine()
	if err != nil {
		return err
	}
	e.sqlEngine = engine
	return engine.prepare(ctx)
}

// engine returns the database of the data source.
func (o DatabaseOptions) engine() (sqlEngine, error) {
	source := o.DataSource
	if o.DataSourceFile != "" {
		content, err := os.ReadFile(o.DataSourceFile)
		if err != nil {
			return nil, problemf("cannot read the data source: %v", err)
		}
		source = strings.TrimSpace(string(content))
	}
	scheme, address, found := strings.Cut(source, "://")
	if !found {
		return nil, problemf("cannot use the data source: it must begin with mysql:// or postgres://")
	}
	encryption, err := o.TLS.load("database")
	if err != nil {
		return nil, problemf("%v", err)
	}
	switch scheme {
	case "mysql":
		return newMySQL(address, o.Name, encryption, o.engine)
	case "postgres", "postgresql":
		return newPostgres(address, o.Name, o.TLS.authority(), encryption, o.engine)
	default:
		return nil, problemf("cannot use a data source of kind %q: it must begin with mysql:// or postgres://", scheme)
	}
}

// release gives back what prepare has taken.
func (e *externalEngine) release() {
	if e.sqlEngine != nil {
		e.sqlEngine.release()
	}
}

// rotated returns the engine for the current data source, to use a new password or new certificates. ok is
// false if the data source now has another database or user, which requires a restart.
func rotated[E interface{ address() databaseAddress }](now func() (sqlEngine, error), before E) (engine E, ok bool) {
	current, err := now()
	if err != nil {
		return engine, false // The previous password may still be valid.
	}
	engine, ok = current.(E)
	return engine, ok && engine.address() == before.address()
}

// databaseError is the reason for operators why a database cannot be used. It wraps no error, because
// that could contain the data source.
type databaseError struct{ reason string }

// Error returns the reason.
func (e *databaseError) Error() string { return e.reason }

// problemf returns a *databaseError.
func problemf(format string, args ...any) error {
	return &databaseError{fmt.Sprintf(format, args...)}
}

// databaseAddress identifies a database outside of the process in messages.
type databaseAddress struct {
	kind, host, user, name string
}

// address returns the database with its user, which no other engine has.
func (a databaseAddress) address() databaseAddress { return a }

// describe returns the database in words without the password.
func (a databaseAddress) describe() string {
	return fmt.Sprintf("the %s database %q on %s", a.kind, a.name, a.host)
}

// networkProblem returns an error of the network or of TLS in words, or nil for another
// kind of error.
func (a databaseAddress) networkProblem(err error) error {
	var (
		unknown  *net.DNSError
		untrust  x509.UnknownAuthorityError
		wrong    x509.HostnameError
		invalid  x509.CertificateInvalidError
		alert    tls.AlertError
		noTLS    tls.RecordHeaderError
		verify   *tls.CertificateVerificationError
		netError net.Error
		opError  *net.OpError
	)
	switch {
	case errors.As(err, &untrust):
		return problemf("cannot trust %s: its certificate is not from the given CA", a.server())
	case errors.As(err, &wrong), errors.As(err, &invalid), errors.As(err, &verify):
		return problemf("cannot trust %s: %s", a.server(), lastCause(err))
	case errors.As(err, &alert), errors.As(err, &noTLS):
		return problemf("cannot encrypt the connection to %s: %s", a.server(), lastCause(err))
	case errors.As(err, &unknown):
		return problemf("cannot find the host of %s: %s", a.server(), unknown.Err)
	case errors.As(err, &netError) && netError.Timeout(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return problemf("cannot reach %s: timeout", a.server())
	case errors.As(err, &opError):
		return problemf("cannot reach %s: %s", a.server(), opError.Err)
	}
	return nil
}

// server returns the server in words.
func (a databaseAddress) server() string { return fmt.Sprintf("the %s server %s", a.kind, a.host) }

// wrongPassword returns the error of refused credentials.
func (a databaseAddress) wrongPassword(cause string) error {
	return problemf("cannot log in to %s as user %q: %s", a.server(), a.user, cause)
}

// missingDatabase returns the error of a database that does not exist and cannot be created.
func (a databaseAddress) missingDatabase() error {
	return problemf("cannot use database %q on %s: it does not exist, and user %q may not create it", a.name, a.server(), a.user)
}

// forbidden returns the error of a user without permissions on the database.
func (a databaseAddress) forbidden() error {
	return problemf("cannot use database %q on %s: user %q needs all permissions on it", a.name, a.server(), a.user)
}

// tooOld returns the error of a server of an unsupported version.
func (a databaseAddress) tooOld(version, oldest string) error {
	return problemf("cannot use %s: version %s is not supported, it must be %s or later", a.server(), version, oldest)
}

// readOnly returns the error of a server that takes no writes.
func (a databaseAddress) readOnly() error {
	return problemf("cannot write to %s: it is read-only", a.server())
}

// busy returns the error of a server that takes no more connections.
func (a databaseAddress) busy(cause string) error {
	return problemf("cannot connect to %s: %s", a.server(), cause)
}

// lastCause returns the innermost error's text.
func lastCause(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

// newDatabaseDialer returns a dialer for databases. Its connections detect within seconds that a server is
// gone.
func newDatabaseDialer() *net.Dialer {
	return &net.Dialer{
		Timeout:         dialTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         limitUnacknowledged,
	}
}
