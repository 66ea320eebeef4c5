package storage

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
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

// authority returns the path of the file of the authorities, empty if there is none.
func (f TLSFiles) authority() string { return f.resolve(f.CA, "ca.crt") }

// load reads the files and returns the configuration of a client, or nil without any file. owner is the
// server in messages.
func (f TLSFiles) load(owner string) (*tls.Config, error) {
	ca, cert, key := f.authority(), f.resolve(f.Cert, "tls.crt"), f.resolve(f.Key, "tls.key")
	if ca == "" && cert == "" && key == "" {
		return nil, nil //nolint:nilnil // no files, no settings of ours
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("cannot read the CA of the %s: %w", owner, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("cannot use the CA of the %s: %s has no certificate", owner, ca)
		}
	}
	if cert == "" && key == "" {
		return config, nil
	}
	if cert == "" || key == "" {
		return nil, fmt.Errorf("cannot use the client certificate of the %s: it needs a certificate and a key", owner)
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("cannot use the client certificate of the %s: %w", owner, err)
	}
	// Drivers of databases keep the configuration, and certificates are renewed.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		return &pair, err
	}
	return config, nil
}
