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

// DatabaseOptions tell how to reach a database outside of the process.
type DatabaseOptions struct {
	// DataSource is the address with user and password, in the form of vCluster:
	// mysql://user:password@tcp(host:port)/database or
	// postgres://user:password@host:port/database.
	DataSource string
	// Name is the name of the database if the data source has none.
	Name string
	// CAFile has the certificates that the server's one must come from. With it,
	// connections are encrypted. Default: as the data source says.
	CAFile string
	// CertFile and KeyFile are the certificate of the client and its key. Default: none.
	CertFile, KeyFile string
}

// Database returns a store in a database outside of the process. It returns a
// *RefusedError if the options cannot be used. No error has the data source: it has a
// password.
func Database(options DatabaseOptions) (*Kine, error) {
	scheme, address, found := strings.Cut(options.DataSource, "://")
	if !found {
		return nil, refuse("cannot use the data source: it must begin with mysql:// or postgres://")
	}
	encryption, err := options.tls()
	if err != nil {
		return nil, err
	}
	var engine sqlEngine
	switch scheme {
	case "mysql":
		engine, err = newMySQL(address, options.Name, encryption)
	case "postgres", "postgresql":
		engine, err = newPostgres(address, options.Name, encryption)
	default:
		return nil, refuse(fmt.Sprintf("cannot use a data source of kind %q: it must begin with mysql:// or postgres://", scheme))
	}
	if err != nil {
		return nil, err
	}
	return newKine(engine), nil
}

// tls returns the encryption that the files ask for, or nil.
func (o DatabaseOptions) tls() (*tls.Config, error) {
	if o.CAFile == "" && o.CertFile == "" && o.KeyFile == "" {
		return nil, nil //nolint:nilnil // no files, no encryption of ours
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		content, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, refuse("cannot read the CA of the database: " + err.Error())
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return nil, refuse("cannot use the CA of the database: " + o.CAFile + " has no certificate")
		}
	}
	if o.CertFile != "" || o.KeyFile != "" {
		if _, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile); err != nil {
			return nil, refuse("cannot use the client certificate of the database: " + err.Error())
		}
		// Read at each connection, as certificates are renewed.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
			return &pair, err
		}
	}
	return config, nil
}

// databaseAddress is what messages say about a database outside of the process.
type databaseAddress struct {
	kind, host, user, name string
}

// describe returns the database in words without the password.
func (a databaseAddress) describe() string {
	return fmt.Sprintf("the %s database %q on %s", a.kind, a.name, a.host)
}

// networkProblem returns what an error of the network or of TLS says, or nil if it is
// another kind of error.
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
		return refuse(fmt.Sprintf("cannot trust %s: its certificate is not from the given CA", a.server()))
	case errors.As(err, &wrong), errors.As(err, &invalid), errors.As(err, &verify):
		return refuse(fmt.Sprintf("cannot trust %s: %s", a.server(), lastCause(err)))
	case errors.As(err, &alert), errors.As(err, &noTLS):
		return refuse(fmt.Sprintf("cannot encrypt the connection to %s: %s", a.server(), lastCause(err)))
	case errors.As(err, &unknown):
		return &temporaryError{fmt.Sprintf("cannot find the host of %s: %s", a.server(), unknown.Err)}
	case errors.As(err, &netError) && netError.Timeout(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return &temporaryError{fmt.Sprintf("cannot reach %s: timeout", a.server())}
	case errors.As(err, &opError):
		return &temporaryError{fmt.Sprintf("cannot reach %s: %s", a.server(), opError.Err)}
	}
	return nil
}

// server returns the server in words.
func (a databaseAddress) server() string { return fmt.Sprintf("the %s server %s", a.kind, a.host) }

// wrongPassword returns the error of refused credentials.
func (a databaseAddress) wrongPassword() error {
	return refuse(fmt.Sprintf("cannot log in to %s as user %q: wrong user or password", a.server(), a.user))
}

// missing returns the error of a database that does not exist and cannot be created.
func (a databaseAddress) missing() error {
	return refuse(fmt.Sprintf("cannot use database %q on %s: it does not exist, and user %q may not create it", a.name, a.server(), a.user))
}

// forbidden returns the error of a user without permissions on the database.
func (a databaseAddress) forbidden() error {
	return refuse(fmt.Sprintf("cannot use database %q on %s: user %q needs all permissions on it", a.name, a.server(), a.user))
}

// tooOld returns the error of a server of an unsupported version.
func (a databaseAddress) tooOld(version, oldest string) error {
	return refuse(fmt.Sprintf("cannot use %s: version %s is not supported, it must be %s or later", a.server(), version, oldest))
}

// readOnly returns the error of a server that takes no writes.
func (a databaseAddress) readOnly() error {
	return &temporaryError{fmt.Sprintf("cannot write to %s: it is read-only", a.server())}
}

// busy returns the error of a server that takes no more connections.
func (a databaseAddress) busy(cause string) error {
	return &temporaryError{fmt.Sprintf("cannot connect to %s: %s", a.server(), cause)}
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

// dialer connects to databases. It notices a server that is gone within some seconds.
func newDatabaseDialer() *net.Dialer {
	return &net.Dialer{
		Timeout:         dialTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         limitUnacknowledged,
	}
}
