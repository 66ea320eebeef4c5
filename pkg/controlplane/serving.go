package controlplane

import (
	"net"
	"slices"
	"time"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// Address provides the names at which clients outside of the host reach the API server. They may
// change.
type Address interface {
	// Names returns the names and IPs that clients use now.
	Names() []string
	// OnChange calls f after each change.
	OnChange(f func())
}

// servingNames returns the names under which clients reach the API server: from the
// process, from the pods of the virtual cluster, and from outside.
func servingNames(c *Config) pki.Names {
	names := pki.Names{
		DNS: []string{
			"localhost",
			"kubernetes",
			"kubernetes.default",
			"kubernetes.default.svc",
			"kubernetes.default.svc." + c.ClusterDomain,
		},
		IPs: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, ip := range []net.IP{c.KubernetesServiceIP, c.AdvertiseAddress} {
		if ip != nil && !ip.IsLoopback() {
			names.IPs = append(names.IPs, ip)
		}
	}
	further := slices.Clone(c.ExtraSANs)
	if c.Address != nil {
		further = append(further, c.Address.Names()...)
	}
	for _, name := range further {
		if ip := net.ParseIP(name); ip != nil {
			names.IPs = append(names.IPs, ip)
		} else {
			names.DNS = append(names.DNS, name)
		}
	}
	return names
}

// newServingLeaf issues the serving certificate and keeps it renewable. It is renewed when the address changes.
func newServingLeaf(c *Config) (*pki.Leaf, error) {
	leaf, err := pki.NewLeaf(c.Clock, func(now time.Time) (pki.Pair, error) { return c.PKI.Serving(now, servingNames(c)) })
	if err == nil && c.Address != nil {
		c.Address.OnChange(leaf.Renew)
	}
	return leaf, err
}

// A servingCert passes a self-renewing certificate to the TLS server, which uses every
// new one from the next handshake on.
type servingCert struct{ leaf *pki.Leaf }

var _ dynamiccertificates.CertKeyContentProvider = servingCert{}

// Name names the certificate in logs.
func (servingCert) Name() string { return "serving" }

// CurrentCertKeyContent returns certificate and key as PEM.
func (s servingCert) CurrentCertKeyContent() (cert, key []byte) {
	pair := s.leaf.Current()
	return pair.Cert, pair.Key
}

// AddListener calls the listener at every renewal.
func (s servingCert) AddListener(listener dynamiccertificates.Listener) {
	s.leaf.OnRenewal(listener.Enqueue)
}
