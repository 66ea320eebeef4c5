package pki_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

func TestSelfSigned(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	certificate, err := pki.SelfSigned(now, time.Hour, "server")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Subject.CommonName != "server" || !parsed.NotAfter.Equal(now.Add(time.Hour)) || parsed.NotBefore.After(now) || parsed.IsCA {
		t.Errorf("got a certificate of %s from %s until %s, authority %t", parsed.Subject, parsed.NotBefore, parsed.NotAfter, parsed.IsCA)
	}
	if err := parsed.CheckSignature(parsed.SignatureAlgorithm, parsed.RawTBSCertificate, parsed.Signature); err != nil {
		t.Errorf("it is not signed with its own key: %v", err)
	}
}
