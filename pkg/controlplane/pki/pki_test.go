package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func bundle(t *testing.T) *Bundle {
	t.Helper()
	b, err := New(start)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t *testing.T, content []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(content)
	if block == nil || len(bytes.TrimSpace(rest)) != 0 {
		t.Fatalf("not one PEM block: %s", content)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestSecretRoundTrip(t *testing.T) {
	t.Parallel()
	want := bundle(t)
	got, err := FromSecret(want.Secret())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Secret(), got.Secret()); diff != "" {
		t.Errorf("a bundle that went through a Secret (-want +got):\n%s", diff)
	}
	if !got.ServiceAccountKey().Equal(want.ServiceAccountKey()) {
		t.Error("the service account key is another one")
	}
	if want := start.Add(caValidity); !got.CAExpires().Equal(want) || !got.FrontProxyExpires().Equal(want) {
		t.Errorf("the authorities end on %s and %s, want %s", got.CAExpires(), got.FrontProxyExpires(), want)
	}
}

func TestFromSecretSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	other := bundle(t).Secret()
	cases := map[string]struct {
		reason string
		change func(map[string][]byte)
		want   []string
	}{
		"Empty": {
			reason: "every missing part is named at once",
			change: func(data map[string][]byte) { clear(data) },
			want: []string{
				"ca.crt is missing", "ca.key is missing", "front-proxy-ca.crt is missing",
				"front-proxy-ca.key is missing", "sa.key is missing",
			},
		},
		"NotPEM": {
			reason: "a value that went through base64 twice, say",
			change: func(data map[string][]byte) { data[KeyCACert] = []byte("LS0tLS1C") },
			want:   []string{"ca.crt is not PEM"},
		},
		"KeyInPlaceOfCertificate": {
			reason: "files were mixed up",
			change: func(data map[string][]byte) { data[KeyFrontProxyCert] = data[KeyFrontProxyKey] },
			want:   []string{"front-proxy-ca.crt is not a certificate"},
		},
		"CertificateInPlaceOfKey": {
			reason: "files were mixed up",
			change: func(data map[string][]byte) { data[KeyServiceAccount] = data[KeyCACert] },
			want:   []string{"sa.key is not an ECDSA key"},
		},
		"KeyOfAnotherCluster": {
			reason: "half of the Secret was restored from elsewhere",
			change: func(data map[string][]byte) { data[KeyCAKey] = other[KeyCAKey] },
			want:   []string{"ca.key is not the key of ca.crt"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := bundle(t).Secret()
			tc.change(data)
			_, err := FromSecret(data)
			if err == nil {
				t.Fatalf("%s: got no error", tc.reason)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: got %q, want it to say %q", tc.reason, err, want)
				}
			}
		})
	}
}

func TestServingCertificate(t *testing.T) {
	t.Parallel()
	b := bundle(t)
	pair, err := b.Serving(start, Names{DNS: []string{"shop.tenant.svc"}, IPs: []net.IP{net.IPv4(10, 0, 0, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.CA())
	leaf := parse(t, pair.Cert)
	for _, name := range []string{"shop.tenant.svc", "10.0.0.1"} {
		_, err := leaf.Verify(x509.VerifyOptions{
			DNSName: name, Roots: roots, CurrentTime: start, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: start, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err == nil {
		t.Error("a serving certificate identifies a client")
	}
	if got, want := pair.RenewAt(), start.Add(LeafValidity*2/3); got.Sub(want).Abs() > time.Hour {
		t.Errorf("RenewAt: got %s, want about %s", got, want)
	}
}

func TestLeavesEndWithTheirAuthority(t *testing.T) {
	t.Parallel()
	b := bundle(t)
	late := start.Add(caValidity - 24*time.Hour)
	pair, err := b.Client(late, "admin")
	if err != nil {
		t.Fatal(err)
	}
	if !pair.NotAfter.Equal(b.CAExpires()) {
		t.Errorf("a certificate issued a day before the end: ends %s, want %s", pair.NotAfter, b.CAExpires())
	}
	if _, err := b.Client(start.Add(caValidity), "admin"); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("after the end: got %v, want an error that says expired", err)
	}
}

func TestClockSetBackAfterTheInstallation(t *testing.T) {
	t.Parallel()
	b, now := bundle(t), start.Add(-12*time.Hour)
	pair, err := b.Serving(now, Names{DNS: []string{"shop"}})
	if err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(b.CA())
	if _, err := parse(t, pair.Cert).Verify(x509.VerifyOptions{Roots: authorities, CurrentTime: now}); err != nil {
		t.Errorf("a certificate of now is not valid: %v", err)
	}
}

func TestFrontProxyIsAnotherAuthority(t *testing.T) {
	t.Parallel()
	b := bundle(t)
	pair, err := b.FrontProxyClient(start)
	if err != nil {
		t.Fatal(err)
	}
	leaf := parse(t, pair.Cert)
	if err := leaf.CheckSignatureFrom(parse(t, b.FrontProxyCA())); err != nil {
		t.Errorf("not signed by the front proxy's authority: %v", err)
	}
	if err := leaf.CheckSignatureFrom(parse(t, b.CA())); err == nil {
		t.Error("the cluster's authority accepts the front proxy as a user")
	}
}

// TestTenantKubeconfig checks whom a tenant's kubeconfig is for, and which one is replaced.
func TestTenantKubeconfig(t *testing.T) {
	t.Parallel()
	b, other := bundle(t), bundle(t)
	const server = "https://shop.tenant:443"
	tenant := func(b *Bundle) []byte {
		content, err := b.TenantKubeconfig(start, server, "shop")
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	masters, err := b.KubeconfigAt(start, server, "shop", "kubernetes-admin", GroupAdmins)
	if err != nil {
		t.Fatal(err)
	}
	own, err := clientcmd.RESTConfigFromKubeConfig(tenant(b))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"sublet:tenant-admins"}, parse(t, own.CertData).Subject.Organization); diff != "" {
		t.Errorf("a group that no binding can take permissions from would be for ever (-want +got):\n%s", diff)
	}
	for name, tc := range map[string]struct {
		reason     string
		kubeconfig []byte
		ok         bool
	}{
		"Own":             {"it is valid for 30 days", tenant(b), true},
		"OtherCluster":    {"another authority has signed it", tenant(other), false},
		"EarlierReleases": {"they gave the group of masters, which cannot be revoked", masters, false},
		"Broken":          {"it has no certificate", nil, false},
	} {
		var cert []byte
		if config, err := clientcmd.RESTConfigFromKubeConfig(tc.kubeconfig); err == nil {
			cert = config.CertData
		}
		_, end, ok := b.TenantCertificateTimes(cert)
		if ok != tc.ok || ok && !end.Equal(start.Add(30*24*time.Hour)) {
			t.Errorf("%s: got %s, %t, want %t: %s", name, end, ok, tc.ok, tc.reason)
		}
	}
}

func TestKubeconfig(t *testing.T) {
	t.Parallel()
	b := bundle(t)
	content, err := b.KubeconfigAt(start, "https://shop.tenant:443", "shop", "shop-admin", GroupAdmins)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(content)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://shop.tenant:443" {
		t.Errorf("server: got %s", config.Host)
	}
	if diff := cmp.Diff(string(b.CA()), string(config.CAData)); diff != "" {
		t.Errorf("authority (-want +got):\n%s", diff)
	}
	leaf := parse(t, config.CertData)
	if leaf.Subject.CommonName != "shop-admin" || cmp.Diff([]string{GroupAdmins}, leaf.Subject.Organization) != "" {
		t.Errorf("identity: got %s, want shop-admin in %s", leaf.Subject, GroupAdmins)
	}
}
