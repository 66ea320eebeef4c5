package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// read returns the bundle of a Secret.
func read(t *testing.T, data map[string][]byte) *Bundle {
	t.Helper()
	b, err := FromSecret(data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// verify verifies the serving certificate of a bundle with the authorities that a client
// trusts.
func verify(t *testing.T, server *Bundle, trusted []byte) error {
	t.Helper()
	pair, err := server.Serving(start, Names{DNS: []string{"kubernetes"}})
	if err != nil {
		t.Fatal(err)
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	leaf, rest := pem.Decode(pair.Cert)
	intermediates.AppendCertsFromPEM(rest)
	_, err = parse(t, pem.EncodeToMemory(leaf)).Verify(x509.VerifyOptions{
		DNSName: "kubernetes", Roots: roots, Intermediates: intermediates, CurrentTime: start.Add(time.Hour),
	})
	return err
}

// verifyClient verifies a client certificate with what a server trusts.
func verifyClient(t *testing.T, client, server *Bundle) error {
	t.Helper()
	pair, err := client.Client(start, "admin")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(server.CA())
	_, err = parse(t, pair.Cert).Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: start.Add(time.Hour), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// TestRotation checks who trusts whom before, during and after a rotation.
func TestRotation(t *testing.T) {
	t.Parallel()
	before := bundle(t)
	rotated, err := Rotate(before.Secret(), start)
	if err != nil {
		t.Fatal(err)
	}
	during := read(t, rotated)
	finished, err := FinishRotation(rotated, start.Add(TenantValidity), false)
	if err != nil {
		t.Fatal(err)
	}
	after := read(t, finished)
	for _, c := range []struct {
		reason  string
		err     error
		trusted bool
	}{
		{"a client that knows only the authority before", verify(t, during, before.CA()), true},
		{"a client with a kubeconfig of the rotation", verify(t, during, during.CA()), true},
		{"a client that knows only the new authority", verify(t, during, after.CA()), true},
		{"a client from before, afterwards", verify(t, after, before.CA()), false},
		{"a client with a kubeconfig of the rotation, afterwards", verify(t, after, during.CA()), true},
		{"a certificate from before", verifyClient(t, before, during), true},
		{"a certificate of the rotation", verifyClient(t, during, during), true},
		{"a certificate from before, afterwards", verifyClient(t, before, after), false},
		{"a certificate of the rotation, afterwards", verifyClient(t, during, after), true},
	} {
		if (c.err == nil) != c.trusted {
			t.Errorf("%s: got %v, want trust: %t", c.reason, c.err, c.trusted)
		}
	}
	if diff := cmp.Diff([]int{1, 2, 1}, []int{len(before.ServiceAccountKeys()), len(during.ServiceAccountKeys()), len(after.ServiceAccountKeys())}); diff != "" {
		t.Errorf("keys of service accounts (-want +got):\n%s", diff)
	}
	if during.ServiceAccountKey().Equal(before.ServiceAccountKey()) || !before.ServiceAccountKey().PublicKey.Equal(during.ServiceAccountKeys()[1]) {
		t.Error("the key of service accounts before is not trusted, or still signs")
	}
	if diff := cmp.Diff(rotated, during.Secret()); diff != "" {
		t.Errorf("the Secret of a rotation is not read as it was written (-want +got):\n%s", diff)
	}
	for key, value := range rotated {
		if bytes.Contains(value, before.CAKey()) {
			t.Errorf("%s has the private key from before", key)
		}
	}
	if _, err := tls.X509KeyPair(during.SigningCA(), during.CAKey()); err != nil {
		t.Errorf("what signs is no pair: %v", err)
	}
}

// TestRotationOrder checks that no step is taken twice or too early.
func TestRotationOrder(t *testing.T) {
	t.Parallel()
	plain := bundle(t).Secret()
	rotated, err := Rotate(plain, start)
	if err != nil {
		t.Fatal(err)
	}
	broken := maps.Clone(rotated)
	broken[KeyCrossCA], broken[KeyRotated] = nil, []byte("yesterday")
	for name, c := range map[string]struct {
		err  func() error
		want string
	}{
		"rotate twice": {
			func() error { _, err := Rotate(rotated, start); return err },
			"cannot rotate the certificate authority: a rotation began on " + start.Format(time.RFC3339) + " and has not been finished",
		},
		"finish without a rotation": {
			func() error { _, err := FinishRotation(plain, start, true); return err },
			"cannot finish the rotation of the certificate authority: none has begun",
		},
		"finish too early": {
			func() error { _, err := FinishRotation(rotated, start.Add(TenantValidity-1), false); return err },
			"cannot finish the rotation of the certificate authority: kubeconfigs from before it are valid until " +
				start.Add(TenantValidity).Format(time.RFC3339) + ". Wait until then, or revoke them with --force",
		},
		"finish by force": {func() error { _, err := FinishRotation(rotated, start, true); return err }, ""},
		"broken": {
			func() error { _, err := FromSecret(broken); return err },
			"cannot read the certificates of the virtual cluster: " + KeyCrossCA + " is missing\n" + KeyRotated + " is not a time: " +
				`parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"`,
		},
	} {
		got := ""
		if err := c.err(); err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestRotationRenewsWhatHasExpired rotates a bundle all of whose authorities have expired, as after a jump of the clock.
func TestRotationRenewsWhatHasExpired(t *testing.T) {
	t.Parallel()
	old, err := New(start.Add(-caValidity - time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := Rotate(old.Secret(), start)
	if err != nil {
		t.Fatal(err)
	}
	b := read(t, rotated)
	if _, err := b.FrontProxyClient(start); err != nil {
		t.Error(err)
	}
	if _, err := b.Peer(start, "shop-0", Names{}); err != nil {
		t.Error(err)
	}
	if _, err := b.Serving(start, Names{}); err != nil {
		t.Error(err)
	}
}

// TestRotationOfPeers rotates when the authority of the members ends soon. Members start again one after the other,
// so that those from before and after accept each other.
func TestRotationOfPeers(t *testing.T) {
	t.Parallel()
	old, err := New(start.Add(-caValidity + LeafValidity/2))
	if err != nil {
		t.Fatal(err)
	}
	data, err := Rotate(old.Secret(), start)
	if err != nil {
		t.Fatal(err)
	}
	rotated := read(t, data)
	for name, c := range map[string]struct{ member, other *Bundle }{
		"Restarted": {rotated, old}, "Before": {old, rotated}, "BothRestarted": {rotated, rotated},
	} {
		pair, err := c.member.Peer(start, "shop-0", Names{DNS: []string{"shop-0"}})
		if err != nil {
			t.Fatal(err)
		}
		roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
		roots.AppendCertsFromPEM(c.other.PeerCA())
		leaf, rest := pem.Decode(pair.Cert)
		intermediates.AppendCertsFromPEM(rest)
		if _, err := parse(t, pem.EncodeToMemory(leaf)).Verify(x509.VerifyOptions{
			DNSName: "shop-0", Roots: roots, Intermediates: intermediates, CurrentTime: start.Add(time.Hour),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	finished, err := FinishRotation(data, start.Add(TenantValidity), false)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, finished).PeerCA(); !bytes.Equal(got, finished[KeyPeersCert]) {
		t.Errorf("the authority before is trusted after the rotation: %s", got)
	}
}
