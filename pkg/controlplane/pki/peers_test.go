package pki_test

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// TestPeers shows that members of the store have an authority that signs for nobody else.
// A Secret of an earlier release gets one, and a rotation keeps it.
func TestPeers(t *testing.T) {
	t.Parallel()
	now := time.Now()
	bundle, err := pki.New(now)
	if err != nil {
		t.Fatal(err)
	}
	earlier := bundle.Secret()
	delete(earlier, pki.KeyPeersCert)
	delete(earlier, pki.KeyPeersKey)
	old, err := pki.FromSecret(earlier)
	if err != nil || old.PeerCA() != nil {
		t.Fatalf("a Secret of an earlier release: %v", err)
	}
	if _, err := old.Peer(now, "shop-0", pki.Names{}); err == nil {
		t.Error("a certificate without authority")
	}
	data, changed, err := pki.WithPeers(earlier, now)
	if err != nil || !changed {
		t.Fatalf("WithPeers: %t, %v", changed, err)
	}
	if _, changed, _ := pki.WithPeers(data, now); changed {
		t.Error("the authority was replaced")
	}
	rotated, err := pki.Rotate(data, now)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(data[pki.KeyPeersCert], rotated[pki.KeyPeersCert]); diff != "" {
		t.Errorf("a rotation changes the authority of members:\n%s", diff)
	}
	complete, err := pki.FromSecret(data)
	if err != nil {
		t.Fatal(err)
	}
	peer, errPeer := complete.Peer(now, "shop-0", pki.Names{DNS: []string{"shop-0.shop-peers.tenant.svc"}})
	tenant, errTenant := complete.Client(now, "shop-0", pki.GroupAdmins)
	serving, errServing := complete.Serving(now, pki.Names{DNS: []string{"shop-0.shop-peers.tenant.svc"}})
	if errPeer != nil || errTenant != nil || errServing != nil {
		t.Fatal(errPeer, errTenant, errServing)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(complete.PeerCA())
	for _, tc := range []struct {
		reason string
		pair   pki.Pair
		want   bool
	}{
		{"a member is accepted", peer, true},
		{"a client certificate of the virtual cluster is not", tenant, false},
		{"a serving certificate of the virtual cluster is not", serving, false},
	} {
		block, _ := pem.Decode(tc.pair.Cert)
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		_, err = certificate.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if (err == nil) != tc.want {
			t.Errorf("%s: %v", tc.reason, err)
		}
	}
}
