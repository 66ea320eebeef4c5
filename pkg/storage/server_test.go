package storage

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"

	"github.com/sublet-dev/sublet/test/certificates"
	"github.com/sublet-dev/sublet/test/etcd"
)

// signer signs certificates for servers and clients of a test.
type signer struct {
	dir  string
	pair *certificates.Pair
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	a := &signer{dir: t.TempDir(), pair: certificates.New(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-2 * time.Hour),
	}, nil)}
	a.trust(t, a.pair.Cert)
	return a
}

// caFile returns the file of the authority that the client of the store trusts.
func (a *signer) caFile() string { return filepath.Join(a.dir, "ca.crt") }

// trust writes a certificate as that of the authority which the client of the store trusts.
func (a *signer) trust(t *testing.T, authority *x509.Certificate) {
	t.Helper()
	if err := os.WriteFile(a.caFile(), certificates.Encode(authority), 0o600); err != nil {
		t.Fatal(err)
	}
}

// leaf writes a certificate for 127.0.0.1 and returns its files.
func (a *signer) leaf(t *testing.T, name string, change func(*x509.Certificate)) (cert, key string) {
	t.Helper()
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	return certificates.New(t, template, a.pair).Write(t, a.dir, name)
}

// withTLS returns the options of a server with a certificate. It asks clients for one if
// there is a ca.
func withTLS(cert, key, ca string) etcd.Options {
	return etcd.Options{TLS: transport.TLSInfo{CertFile: cert, KeyFile: key, TrustedCAFile: ca, ClientCertAuth: ca != ""}}
}
