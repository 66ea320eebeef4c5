package pki

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"time"
)

// LeafValidity is how long a serving or client certificate is valid, unless its
// authority ends before.
const LeafValidity = 365 * 24 * time.Hour

// A Pair is a certificate with its private key, both as PEM.
type Pair struct {
	Cert []byte
	Key  []byte

	// NotBefore and NotAfter bound the validity of the certificate.
	NotBefore, NotAfter time.Time
}

// RenewAt returns the time at which the pair must be renewed: after two thirds of its
// validity.
func (p Pair) RenewAt() time.Time {
	return p.NotBefore.Add(p.NotAfter.Sub(p.NotBefore) * 2 / 3)
}

// Names are the names that a serving certificate is valid for.
type Names struct {
	DNS []string
	IPs []net.IP
}

// Serving issues a certificate for a TLS server.
func (b *Bundle) Serving(now time.Time, names Names) (Pair, error) {
	pair, err := b.ca.issue(now, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		DNSNames:    names.DNS,
		IPAddresses: names.IPs,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	// During a rotation, who trusts the authority before finds its signature in the chain.
	pair.Cert = append(pair.Cert, b.outgoing.crossPEM()...)
	return pair, err
}

// Client issues a certificate that identifies a user of the API server.
func (b *Bundle) Client(now time.Time, user string, groups ...string) (Pair, error) {
	return b.client(now, LeafValidity, user, groups...)
}

// client issues a client certificate that is valid for that long.
func (b *Bundle) client(now time.Time, validity time.Duration, user string, groups ...string) (Pair, error) {
	return b.ca.issueFor(now, validity, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// FrontProxyClient issues the certificate with which the API server vouches for
// users towards aggregated API servers.
func (b *Bundle) FrontProxyClient(now time.Time) (Pair, error) {
	return b.frontProxy.issue(now, &x509.Certificate{
		Subject:     pkix.Name{CommonName: FrontProxyUser},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// FrontProxyUser is the name in the front proxy's client certificate, which
// aggregated API servers are told to accept.
const FrontProxyUser = "front-proxy-client"

// issue signs a certificate that is valid for [LeafValidity].
func (a authority) issue(now time.Time, template *x509.Certificate) (Pair, error) {
	return a.issueFor(now, LeafValidity, template)
}

// issueFor signs a certificate that is valid for that long, but no longer than its
// authority.
func (a authority) issueFor(now time.Time, validity time.Duration, template *x509.Certificate) (Pair, error) {
	key, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	template.SerialNumber, err = newSerial()
	if err != nil {
		return Pair{}, err
	}
	template.NotBefore = now.Add(-backdate).UTC()
	template.NotAfter = now.Add(validity).UTC()
	if a.cert.NotAfter.Before(template.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	if !now.Before(template.NotAfter) {
		return Pair{}, fmt.Errorf("cannot issue a certificate for %s: the authority %s expired on %s",
			template.Subject.CommonName, a.cert.Subject.CommonName, a.cert.NotAfter.Format(time.RFC3339))
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("cannot issue a certificate for %s: %w", template.Subject.CommonName, err)
	}
	return Pair{
		Cert:      encodeCert(raw),
		Key:       mustEncodeKey(key),
		NotBefore: template.NotBefore,
		NotAfter:  template.NotAfter,
	}, nil
}

// SelfSigned returns a certificate without an authority, for a TLS server whose certificate nobody verifies.
func SelfSigned(now time.Time, validity time.Duration, name string) (tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{NotAfter: now.Add(validity), Subject: pkix.Name{CommonName: name}}
	template.SerialNumber, err = newSerial()
	if err != nil {
		return tls.Certificate{}, err
	}
	template.NotBefore = now.Add(-backdate).UTC()
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cannot issue a certificate for %s: %w", name, err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, nil
}
