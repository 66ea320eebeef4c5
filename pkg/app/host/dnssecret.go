package host

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// DNSSecret is the host Secret for the DNS pods. It has their client certificate for the virtual
// API, which is renewed when a third of its life is left, and the host's Service CIDRs.
type DNSSecret struct {
	// Release is the release of the virtual cluster.
	Release release.Release
	// Bundle signs the client certificate.
	Bundle *pki.Bundle
	// User is the user of the virtual cluster in the certificate.
	User string
	// ServiceRanges are the Service CIDRs of the host, with commas between them.
	ServiceRanges string
	// Clock is the time.
	Clock clock.PassiveClock
}

// Want implements [WantSecret].
func (d *DNSSecret) Want(_ context.Context, current *corev1.Secret) (*corev1.Secret, time.Duration, error) {
	now := d.Clock.Now()
	if left := d.lifetime(current, now); left > 0 {
		return nil, left, nil
	}
	pair, err := d.Bundle.Client(now, d.User)
	if err != nil {
		return nil, 0, err
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: d.Release.DNS(), Labels: d.Release.Labels()},
		Data: map[string][]byte{
			corev1.ServiceAccountRootCAKey: d.Bundle.CA(),
			corev1.TLSCertKey:              pair.Cert,
			corev1.TLSPrivateKeyKey:        pair.Key,
			release.DNSServiceRangesKey:    []byte(d.ServiceRanges),
		},
	}, pair.RenewAt().Sub(now), nil
}

// lifetime returns how long the Secret can still be used. It must be written again at 0 or less.
func (d *DNSSecret) lifetime(secret *corev1.Secret, now time.Time) time.Duration {
	if secret == nil || string(secret.Data[corev1.ServiceAccountRootCAKey]) != string(d.Bundle.CA()) ||
		string(secret.Data[release.DNSServiceRangesKey]) != d.ServiceRanges {
		return 0
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil || pair.Leaf.Subject.CommonName != d.User {
		return 0
	}
	authority := x509.NewCertPool()
	authority.AppendCertsFromPEM(d.Bundle.CA())
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: authority, CurrentTime: now, KeyUsages: usages}); err != nil {
		return 0
	}
	leaf := pki.Pair{NotBefore: pair.Leaf.NotBefore, NotAfter: pair.Leaf.NotAfter}
	return leaf.RenewAt().Sub(now)
}
