package host

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// validity of everything that is signed here: longer than any test host lives.
const validity = 365 * 24 * time.Hour

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// identity is what a certificate says of its holder.
type identity struct {
	name   string   // of its files, and the common name unless that is given
	common string   // common name
	groups []string // organizations
	hosts  []string // DNS names and IP addresses; a certificate with any is for serving
	client bool     // may be used to call others
}

// credentials are the files of the host's certificates and kubeconfigs.
type credentials struct {
	dir string
	now time.Time
}

func (c credentials) file(name string) string       { return filepath.Join(c.dir, name) }
func (c credentials) kubeconfig(name string) string { return c.file(name + ".kubeconfig") }

// users of the API server that get a kubeconfig.
func users() []identity {
	return []identity{
		{name: "kcm", common: "system:kube-controller-manager"},
		{name: "scheduler", common: "system:kube-scheduler"},
		{name: "kubelet", common: "system:node:" + nodeName, groups: []string{"system:nodes"}},
		{name: "kube-proxy", common: "system:kube-proxy"},
		{name: "coredns", common: "system:coredns"},
		{name: "local-path", common: "local-path-provisioner"},
		// Comes last, so that its file says that all the others are there.
		{name: "admin", groups: []string{"system:masters"}},
	}
}

// create writes everything that is signed, unless it is there.
func (c credentials) create() error {
	if _, err := os.Stat(c.kubeconfig("admin")); err == nil {
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	cluster, err := c.authority("ca")
	if err != nil {
		return err
	}
	front, err := c.authority("front-proxy-ca")
	if err != nil {
		return err
	}
	store, err := c.authority("etcd-ca")
	if err != nil {
		return err
	}
	for _, issue := range []struct {
		by  authority
		who identity
	}{
		{store, identity{name: "etcd", hosts: []string{"localhost", "127.0.0.1"}, client: true}},
		{store, identity{name: "apiserver-etcd", client: true}},
		{cluster, identity{name: "apiserver", hosts: apiServerNames()}},
		{cluster, identity{name: "apiserver-kubelet", client: true}},
		{cluster, identity{name: "kubelet-serving", hosts: []string{nodeName, nodeIP}}},
		{cluster, identity{name: "loopback", hosts: []string{"localhost", "127.0.0.1"}}},
		{front, identity{name: "front-proxy-client", client: true}},
	} {
		if _, _, err := c.issue(issue.by, issue.who); err != nil {
			return err
		}
	}
	if err := c.serviceAccountKey(); err != nil {
		return err
	}
	for _, who := range users() {
		if err := c.user(cluster, who); err != nil {
			return err
		}
	}
	return nil
}

func apiServerNames() []string {
	return []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc." + clusterDomain, nodeName, "127.0.0.1", nodeIP, apiServiceIP,
	}
}

// authority makes an authority that signs itself.
func (c credentials) authority(name string) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "sublet-host-" + name},
		NotBefore:    c.now.Add(-time.Hour), NotAfter: c.now.Add(validity),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:     true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("cannot sign %s: %w", name, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, err
	}
	_, _, err = c.write(name, der, key)
	return authority{certificate: certificate, key: key}, err
}

// issue writes NAME.crt and NAME.key and returns them.
func (c credentials) issue(by authority, who identity) (certificate, key []byte, err error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	common := who.common
	if common == "" {
		common = who.name
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: common, Organization: who.groups},
		NotBefore:    c.now.Add(-time.Hour), NotAfter: c.now.Add(validity),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	for _, h := range who.hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	if len(who.hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if who.client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, signer.Public(), by.key)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot sign %s: %w", who.name, err)
	}
	return c.write(who.name, der, signer)
}

func (c credentials) write(name string, der []byte, key crypto.Signer) (certificate, private []byte, err error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	if err := os.WriteFile(c.file(name+".crt"), certificate, 0o644); err != nil {
		return nil, nil, err
	}
	return certificate, private, os.WriteFile(c.file(name+".key"), private, 0o600)
}

// serviceAccountKey writes the pair that signs and verifies tokens.
func (c credentials) serviceAccountKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	if err := os.WriteFile(c.file("sa.pub"), text, 0o644); err != nil {
		return err
	}
	text = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return os.WriteFile(c.file("sa.key"), text, 0o600)
}

// user writes the kubeconfig of a user of the API server.
func (c credentials) user(by authority, who identity) error {
	who.client = true
	certificate, key, err := c.issue(by, who)
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.CurrentContext = cgroupName
	config.Contexts[cgroupName] = &clientcmdapi.Context{Cluster: cgroupName, AuthInfo: who.name}
	config.AuthInfos[who.name] = &clientcmdapi.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}
	config.Clusters[cgroupName] = &clientcmdapi.Cluster{
		Server:                   apiServer,
		CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: by.certificate.Raw}),
	}
	return clientcmd.WriteToFile(*config, c.kubeconfig(who.name))
}
