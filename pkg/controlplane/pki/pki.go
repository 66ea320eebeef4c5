// Package pki creates and keeps the identity of one virtual cluster: its authorities, and
// the certificates that they sign.
//
// A [Bundle] is what must outlive a pod, in a Secret of the host. It has the certificate
// authority of the cluster, and the key that signs service account tokens. It also has
// the authority of the front proxy, which identifies users to aggregated API servers, and
// that of the members of the embedded store.
// Serving and client certificates are issued from the bundle when the process needs
// them. They are valid for a year at most, and are replaced while it runs, see [Leaf].
//
// All keys are ECDSA on P-256. One takes microseconds to generate; RSA would take a
// second of each start.
package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Names of the files of a bundle, which are the keys of its Secret. They are
// the names that kubeadm uses.
const (
	KeyCACert         = "ca.crt"
	KeyCAKey          = "ca.key"
	KeyFrontProxyCert = "front-proxy-ca.crt"
	KeyFrontProxyKey  = "front-proxy-ca.key"
	KeyServiceAccount = "sa.key"
)

const (
	// caValidity is how long an authority is valid. Ten years is what kubeadm gives. See
	// [Rotate] for an earlier end.
	caValidity = 10 * 365 * 24 * time.Hour

	// backdate absorbs clocks that run behind.
	backdate = 5 * time.Minute

	// authorityBackdate absorbs a clock that is set back after the installation. An authority
	// is not issued again, as the other certificates are.
	authorityBackdate = 24 * time.Hour

	blockCert = "CERTIFICATE"
	blockKey  = "EC PRIVATE KEY"
)

// A Bundle is the lasting part of a virtual cluster's identity. It is
// immutable.
type Bundle struct {
	ca         authority
	frontProxy authority
	accounts   *ecdsa.PrivateKey
	// peers signs for members of the store. It is empty in a Secret of an earlier
	// release, see [WithPeers].
	peers authority
	// outgoing is the identity before a rotation that has not ended, else empty.
	outgoing outgoing
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New creates a bundle that is valid from now on.
func New(now time.Time) (*Bundle, error) {
	ca, err := newAuthority("kubernetes", now)
	if err != nil {
		return nil, err
	}
	frontProxy, err := newAuthority("front-proxy-ca", now)
	if err != nil {
		return nil, err
	}
	accounts, err := newKey()
	if err != nil {
		return nil, err
	}
	peers, err := newAuthority("store-peers", now)
	if err != nil {
		return nil, err
	}
	return &Bundle{ca: ca, frontProxy: frontProxy, accounts: accounts, peers: peers}, nil
}

// FromSecret reads a bundle from the data of its Secret. It reports every
// missing, unreadable or mismatched part at once.
func FromSecret(data map[string][]byte) (*Bundle, error) {
	ca, errCA := readAuthority(data, KeyCACert, KeyCAKey)
	frontProxy, errFront := readAuthority(data, KeyFrontProxyCert, KeyFrontProxyKey)
	accounts, errAccounts := readKey(data, KeyServiceAccount)
	peers, errPeers := readPeers(data)
	former, errFormer := readOutgoing(data)
	if err := errors.Join(errCA, errFront, errAccounts, errPeers, errFormer); err != nil {
		return nil, fmt.Errorf("cannot read the certificates of the virtual cluster: %w", err)
	}
	return &Bundle{ca: ca, frontProxy: frontProxy, accounts: accounts, peers: peers, outgoing: former}, nil
}

// Secret returns the bundle as the data of a Secret.
func (b *Bundle) Secret() map[string][]byte {
	data := map[string][]byte{
		KeyCACert:         encodeCert(b.ca.cert.Raw),
		KeyCAKey:          mustEncodeKey(b.ca.key),
		KeyFrontProxyCert: encodeCert(b.frontProxy.cert.Raw),
		KeyFrontProxyKey:  mustEncodeKey(b.frontProxy.key),
		KeyServiceAccount: mustEncodeKey(b.accounts),
	}
	b.peers.write(data, KeyPeersCert, KeyPeersKey)
	b.outgoing.write(data)
	return data
}

// CA returns the certificate authorities to trust as PEM: the cluster's own, and during a
// rotation also the one before.
func (b *Bundle) CA() []byte {
	return append(encodeCert(b.ca.cert.Raw), b.outgoing.caPEM()...)
}

// SigningCA returns the certificate of the authority that signs as PEM.
func (b *Bundle) SigningCA() []byte { return encodeCert(b.ca.cert.Raw) }

// CAKey returns the private key of the cluster's authority as PEM.
func (b *Bundle) CAKey() []byte { return mustEncodeKey(b.ca.key) }

// FrontProxyCA returns the authority of the front proxy as PEM.
func (b *Bundle) FrontProxyCA() []byte { return encodeCert(b.frontProxy.cert.Raw) }

// ServiceAccountKey returns the key that signs service account tokens.
func (b *Bundle) ServiceAccountKey() *ecdsa.PrivateKey { return b.accounts }

// ServiceAccountKeys returns the public keys of service account tokens: of the key that
// signs, and during a rotation also of the one before.
func (b *Bundle) ServiceAccountKeys() []any {
	keys := []any{b.accounts.Public()}
	if b.outgoing.accounts != nil {
		keys = append(keys, b.outgoing.accounts)
	}
	return keys
}

// CAExpires returns when the cluster's certificate authority ends.
func (b *Bundle) CAExpires() time.Time { return b.ca.cert.NotAfter }

// FrontProxyExpires returns when the authority of the front proxy ends.
func (b *Bundle) FrontProxyExpires() time.Time { return b.frontProxy.cert.NotAfter }

func newAuthority(name string, now time.Time) (authority, error) {
	key, err := newKey()
	if err != nil {
		return authority{}, err
	}
	serial, err := newSerial()
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		NotBefore:             now.Add(-authorityBackdate).UTC(),
		NotAfter:              now.Add(caValidity).UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("cannot create the certificate authority %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return authority{}, fmt.Errorf("cannot read back the certificate authority %s: %w", name, err)
	}
	return authority{cert: cert, key: key}, nil
}

func readAuthority(data map[string][]byte, certName, keyName string) (authority, error) {
	cert, errCert := readCert(data, certName)
	key, errKey := readKey(data, keyName)
	if err := errors.Join(errCert, errKey); err != nil {
		return authority{}, err
	}
	public, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || !public.Equal(key.Public()) {
		return authority{}, fmt.Errorf("%s is not the key of %s", keyName, certName)
	}
	if !cert.IsCA {
		return authority{}, fmt.Errorf("%s is not a certificate authority", certName)
	}
	return authority{cert: cert, key: key}, nil
}

func readCert(data map[string][]byte, name string) (*x509.Certificate, error) {
	block, err := readBlock(data, name)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(block)
	if err != nil {
		return nil, fmt.Errorf("%s is not a certificate: %w", name, err)
	}
	return cert, nil
}

func readKey(data map[string][]byte, name string) (*ecdsa.PrivateKey, error) {
	block, err := readBlock(data, name)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(block)
	if err != nil {
		return nil, fmt.Errorf("%s is not an ECDSA key: %w", name, err)
	}
	return key, nil
}

func readBlock(data map[string][]byte, name string) ([]byte, error) {
	content := bytes.TrimSpace(data[name])
	if len(content) == 0 {
		return nil, fmt.Errorf("%s is missing", name)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", name)
	}
	return block.Bytes, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot generate a key: %w", err)
	}
	return key, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("cannot generate a serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

func encodeCert(raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCert, Bytes: raw})
}

// mustEncodeKey encodes a key that this package has created or read. So it is on a curve
// that can be encoded.
func mustEncodeKey(key *ecdsa.PrivateKey) []byte {
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		panic(fmt.Sprintf("pki: cannot encode an ECDSA key: %v", err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: raw})
}
