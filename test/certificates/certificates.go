// Package certificates issues the certificates of tests.
package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Pair is a certificate and its private key.
type Pair struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

// NewAuthority returns a new authority. It may also serve and log in itself, so that it is enough where a test needs no other
// certificate.
func NewAuthority(tb testing.TB, name string, addresses ...net.IP) *Pair {
	tb.Helper()
	return New(tb, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IPAddresses: addresses, IsCA: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, nil)
}

// NewLeaf returns a certificate of an authority, for a server or a client at some addresses.
func NewLeaf(tb testing.TB, by *Pair, name string, addresses ...net.IP) *Pair {
	tb.Helper()
	return New(tb, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IPAddresses: addresses, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, by)
}

// New returns a certificate with a new key. The certificate is self-signed if by is nil. See Sign for what the template may
// lack.
func New(tb testing.TB, template *x509.Certificate, by *Pair) *Pair {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if by == nil {
		by = &Pair{Cert: template, Key: key}
	}
	return &Pair{Cert: Sign(tb, template, key.Public(), by), Key: key}
}

// Sign returns a certificate for a public key. It completes the template: the certificate gets a serial number, and is valid
// from an hour ago until in a day.
func Sign(tb testing.TB, template *x509.Certificate, public any, by *Pair) *x509.Certificate {
	tb.Helper()
	template.SerialNumber, template.BasicConstraintsValid = big.NewInt(time.Now().UnixNano()), true
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Cert, public, by.Key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// CertPEM returns the certificate in PEM.
func (p *Pair) CertPEM() []byte { return Encode(p.Cert) }

// KeyPEM returns the private key in PEM.
func (p *Pair) KeyPEM(tb testing.TB) []byte {
	tb.Helper()
	der, err := x509.MarshalECPrivateKey(p.Key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// TLS returns the pair for a TLS configuration.
func (p *Pair) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key}
}

// Write writes NAME.crt and NAME.key to a folder and returns their paths.
func (p *Pair) Write(tb testing.TB, dir, name string) (certFile, keyFile string) {
	tb.Helper()
	certFile, keyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for file, content := range map[string][]byte{certFile: p.CertPEM(), keyFile: p.KeyPEM(tb)} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return certFile, keyFile
}

// Encode returns a certificate in PEM.
func Encode(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}
