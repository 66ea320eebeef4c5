package hostlab

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
)

func newCredentials(t *testing.T) credentials {
	t.Helper()
	c := credentials{dir: t.TempDir(), now: time.Now()}
	if err := c.create(); err != nil {
		t.Fatal(err)
	}
	return c
}

func readCertificate(t *testing.T, c credentials, name string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(c.file(name + ".crt"))
	if err != nil {
		t.Fatal(err)
	}
	return parseCertificate(t, text)
}

func parseCertificate(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("no PEM block")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	c := newCredentials(t)
	cases := map[string]struct {
		reason string
		name   string
		by     string
		host   string
		usage  x509.ExtKeyUsage
	}{
		"EtcdServes":          {"The API server calls etcd on the loopback.", "etcd", "etcd-ca", "127.0.0.1", x509.ExtKeyUsageServerAuth},
		"APIServerByService":  {"Pods call the API server at its Service.", "apiserver", "ca", apiServiceIP, x509.ExtKeyUsageServerAuth},
		"APIServerByName":     {"Pods call the API server by name.", "apiserver", "ca", "kubernetes.default.svc", x509.ExtKeyUsageServerAuth},
		"APIServerByAddress":  {"The machine calls the API server at the node.", "apiserver", "ca", nodeIP, x509.ExtKeyUsageServerAuth},
		"KubeletServes":       {"The API server calls the kubelet at the node.", "kubelet-serving", "ca", nodeIP, x509.ExtKeyUsageServerAuth},
		"APIServerCallsNodes": {"The API server shows who it is to the kubelet.", "apiserver-kubelet", "ca", "", x509.ExtKeyUsageClientAuth},
		"APIServerCallsEtcd":  {"The API server shows who it is to etcd.", "apiserver-etcd", "etcd-ca", "", x509.ExtKeyUsageClientAuth},
		"FrontProxy":          {"Aggregated API servers trust the front proxy's own authority.", "front-proxy-client", "front-proxy-ca", "", x509.ExtKeyUsageClientAuth},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roots := x509.NewCertPool()
			roots.AddCert(readCertificate(t, c, tc.by))
			options := x509.VerifyOptions{Roots: roots, DNSName: tc.host, KeyUsages: []x509.ExtKeyUsage{tc.usage}}
			if _, err := readCertificate(t, c, tc.name).Verify(options); err != nil {
				t.Errorf("%s\n%s does not verify: %v", tc.reason, tc.name, err)
			}
		})
	}
}

func TestAuthoritiesAreApart(t *testing.T) {
	t.Parallel()
	c := newCredentials(t)
	roots := x509.NewCertPool()
	roots.AddCert(readCertificate(t, c, "ca"))
	for _, name := range []string{"front-proxy-client", "apiserver-etcd"} {
		options := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if _, err := readCertificate(t, c, name).Verify(options); err == nil {
			t.Errorf("%s is a user of the API server, which it must not be", name)
		}
	}
}

func TestKubeconfigs(t *testing.T) {
	t.Parallel()
	c := newCredentials(t)
	want := map[string][]string{ // common name, then groups
		"admin":          {"admin", "system:masters"},
		"kcm":            {"system:kube-controller-manager"},
		"scheduler":      {"system:kube-scheduler"},
		"kubelet":        {"system:node:host-1", "system:nodes"},
		"kube-proxy":     {"system:kube-proxy"},
		"coredns":        {"system:coredns"},
		"volumes":        {"system:volumes"},
		"metrics-server": {"system:metrics-server"},
	}
	got := map[string][]string{}
	for _, who := range users() {
		config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig(who.file))
		if err != nil {
			t.Fatal(err)
		}
		if config.Host != apiServer {
			t.Errorf("%s calls %s, want %s", who.file, config.Host, apiServer)
		}
		certificate := parseCertificate(t, config.CertData)
		got[who.file] = append([]string{certificate.Subject.CommonName}, certificate.Subject.Organization...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who the kubeconfigs' holders are: -want, +got:\n%s", diff)
	}
	if last := users()[len(users())-1].file; last != "admin" {
		t.Errorf("%s is last, want admin, whose file exists only if all others do", last)
	}
}

func TestCreateAgainChangesNothing(t *testing.T) {
	t.Parallel()
	c := newCredentials(t)
	before := readCertificate(t, c, "ca").SerialNumber.String() + string(readCertificate(t, c, "ca").Raw)
	if err := c.create(); err != nil {
		t.Fatal(err)
	}
	if after := readCertificate(t, c, "ca").SerialNumber.String() + string(readCertificate(t, c, "ca").Raw); after != before {
		t.Error("the authority changed under a running host")
	}
}

// TestCreateAgainAddsUsers checks a host that was started by a version of this package that
// knew fewer users.
func TestCreateAgainAddsUsers(t *testing.T) {
	t.Parallel()
	c := newCredentials(t)
	admin, err := os.ReadFile(c.kubeconfig("admin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.kubeconfig("metrics-server")); err != nil {
		t.Fatal(err)
	}
	if err := c.create(); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig("metrics-server"))
	if err != nil {
		t.Fatal(err)
	}
	certificate := parseCertificate(t, config.CertData)
	if err := certificate.CheckSignatureFrom(readCertificate(t, c, "ca")); err != nil {
		t.Errorf("The API server does not accept the user that was added: %v", err)
	}
	after, err := os.ReadFile(c.kubeconfig("admin"))
	if err != nil {
		t.Fatal(err)
	}
	if string(after) != string(admin) {
		t.Error("the admin's kubeconfig changed under a running host")
	}
}

func TestKeysArePrivate(t *testing.T) {
	t.Parallel()
	c := newCredentials(t)
	for _, name := range []string{"ca.key", "sa.key", "etcd.key", "admin.kubeconfig"} {
		info, err := os.Stat(c.file(name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o, want 600", name, mode)
		}
	}
}
