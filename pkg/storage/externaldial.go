package storage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// TLSFiles are the files for mutual TLS with a store. They are read for each new connection, so that
// certificates can be renewed.
type TLSFiles struct {
	// Dir is the folder of relative names.
	Dir string
	// CA has the certificates of the authorities that sign the server's certificate.
	// Default: ca.crt in Dir, or else the authorities of the system.
	CA string
	// Cert and Key are the client certificate. Default: tls.crt and tls.key in Dir, or
	// else none.
	Cert, Key string
}

// resolve returns the path of a file. Without a name, it returns that of the file with
// the default name, or an empty path if there is none.
func (f TLSFiles) resolve(name, fallback string) string {
	switch {
	case filepath.IsAbs(name):
		return name
	case name != "":
		return filepath.Join(f.Dir, name)
	case f.Dir == "":
		return ""
	}
	path := filepath.Join(f.Dir, fallback)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return path
}

// Config reads the files and returns the configuration of a client of the host.
func (f TLSFiles) Config(host string) (*tls.Config, error) {
	config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if path := f.resolve(f.CA, "ca.crt"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read the CA of the store: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("cannot use the CA of the store: %s has no certificate", path)
		}
	}
	cert, key := f.resolve(f.Cert, "tls.crt"), f.resolve(f.Key, "tls.key")
	if cert == "" && key == "" {
		return config, nil
	}
	if cert == "" || key == "" {
		return nil, errors.New("cannot use the client certificate of the store: it needs a certificate and a key")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cannot use the client certificate of the store: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// dial connects to one member and does the TLS handshake, if there is one. gRPC bounds the time without an
// acknowledgement of connections without TLS alone.
func (x *External) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dialer := &net.Dialer{Control: limitUnacknowledged}
	if !x.hasTLS() {
		return dialer.DialContext(ctx, "tcp", address)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config, err := x.TLS.Config(host)
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", address)
}
