package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"time"
)

// Names of the files of a bundle during a rotation.
const (
	// KeyFormerCA is the authority before the rotation. It is trusted and signs nothing.
	KeyFormerCA = "former-ca.crt"
	// KeyCrossCA is the new authority, signed by the one before.
	KeyCrossCA = "cross-ca.crt"
	// KeyFormerServiceAccount is the public key of tokens from before the rotation.
	KeyFormerServiceAccount = "former-sa.pub"
	// KeyRotated is the time at which the rotation began.
	KeyRotated = "rotated-at"
	// KeyFormerPeers and KeyCrossPeers are the same for the authority of the members of the store, if the rotation
	// has replaced that one too.
	KeyFormerPeers = "former-peer-ca.crt"
	KeyCrossPeers  = "cross-peer-ca.crt"

	blockPublicKey = "PUBLIC KEY"
)

// outgoing is what a rotation replaces, and what is trusted until it ends.
type outgoing struct {
	ca       *x509.Certificate
	cross    *x509.Certificate
	accounts *ecdsa.PublicKey
	since    time.Time
	// peers and crossPeers are nil if the authority of the members stays.
	peers, crossPeers *x509.Certificate
}

// Rotate returns the data of the Secret with a new authority and a new key of service
// accounts. Both sign from the next start on. The ones before are trusted until
// [FinishRotation], and their private keys are gone.
//
// Nobody has to act in between. Who trusts only the authority before accepts the server,
// which presents the new authority with a signature of the one before. Clients with
// certificates and tokens from before are accepted too.
func Rotate(data map[string][]byte, now time.Time) (map[string][]byte, error) {
	before, err := FromSecret(data)
	if err != nil {
		return nil, err
	}
	if before.outgoing.ca != nil {
		return nil, fmt.Errorf("cannot rotate the certificate authority: a rotation began on %s and has not been finished",
			before.outgoing.since.Format(time.RFC3339))
	}
	// Some clients look for an authority by its name alone.
	ca, err := newAuthority(fmt.Sprintf("kubernetes-%d", now.Unix()), now)
	if err != nil {
		return nil, err
	}
	cross, err := before.ca.crossSign(ca)
	if err != nil {
		return nil, err
	}
	accounts, err := newKey()
	if err != nil {
		return nil, err
	}
	frontProxy, errFrontProxy := before.frontProxy.renewed(now)
	peers, errPeers := before.peers.renewed(now)
	if err := errors.Join(errFrontProxy, errPeers); err != nil {
		return nil, err
	}
	after := &Bundle{ca: ca, frontProxy: frontProxy, accounts: accounts, peers: peers, outgoing: outgoing{
		ca: before.ca.cert, cross: cross, accounts: &before.accounts.PublicKey, since: now,
	}}
	if before.peers.cert != peers.cert { // Members start again one after the other, and accept each other meanwhile.
		after.outgoing.peers = before.peers.cert
		if after.outgoing.crossPeers, err = before.peers.crossSign(peers); err != nil {
			return nil, err
		}
	}
	return after.Secret(), nil
}

// renewed returns the authority, or a new one if it is not valid now or ends within the life of a certificate.
func (a authority) renewed(now time.Time) (authority, error) {
	if a.cert == nil || !now.Before(a.cert.NotBefore) && now.Add(LeafValidity).Before(a.cert.NotAfter) {
		return a, nil
	}
	return newAuthority(a.cert.Subject.CommonName, now)
}

// FinishRotation returns the data of the Secret without the authority and the key from
// before the rotation. What they have signed is void from the next start on. It returns an
// error before every kubeconfig from before has ended, unless force is true.
func FinishRotation(data map[string][]byte, now time.Time, force bool) (map[string][]byte, error) {
	bundle, err := FromSecret(data)
	if err != nil {
		return nil, err
	}
	if bundle.outgoing.ca == nil {
		return nil, errors.New("cannot finish the rotation of the certificate authority: none has begun")
	}
	if end := bundle.outgoing.since.Add(TenantValidity); now.Before(end) && !force {
		return nil, fmt.Errorf("cannot finish the rotation of the certificate authority: kubeconfigs from before it are valid until %s. "+
			"Wait until then, or revoke them with --force", end.Format(time.RFC3339))
	}
	finished := maps.Clone(data)
	for _, key := range []string{KeyFormerCA, KeyCrossCA, KeyFormerServiceAccount, KeyRotated, KeyFormerPeers, KeyCrossPeers} {
		delete(finished, key)
	}
	return finished, nil
}

// crossSign signs another authority, so that who trusts this one trusts the other.
func (a authority) crossSign(other authority) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               other.cert.Subject,
		SubjectKeyId:          other.cert.SubjectKeyId,
		NotBefore:             other.cert.NotBefore,
		NotAfter:              a.cert.NotAfter,
		KeyUsage:              other.cert.KeyUsage,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, other.key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign the new certificate authority: %w", err)
	}
	return x509.ParseCertificate(raw)
}

// readOutgoing reads what is trusted during a rotation. It returns an empty result if the
// Secret is not in one.
func readOutgoing(data map[string][]byte) (outgoing, error) {
	if len(data[KeyFormerCA]) == 0 {
		return outgoing{}, nil
	}
	ca, errCA := readCert(data, KeyFormerCA)
	cross, errCross := readCert(data, KeyCrossCA)
	accounts, errAccounts := readPublicKey(data, KeyFormerServiceAccount)
	since, errSince := time.Parse(time.RFC3339, string(bytes.TrimSpace(data[KeyRotated])))
	if errSince != nil {
		errSince = fmt.Errorf("%s is not a time: %w", KeyRotated, errSince)
	}
	if err := errors.Join(errCA, errCross, errAccounts, errSince); err != nil {
		return outgoing{}, err
	}
	replaced := outgoing{ca: ca, cross: cross, accounts: accounts, since: since}
	if len(data[KeyFormerPeers]) == 0 {
		return replaced, nil
	}
	var errPeers error
	replaced.peers, errPeers = readCert(data, KeyFormerPeers)
	replaced.crossPeers, errCross = readCert(data, KeyCrossPeers)
	return replaced, errors.Join(errPeers, errCross)
}

// readPublicKey reads an ECDSA public key.
func readPublicKey(data map[string][]byte, name string) (*ecdsa.PublicKey, error) {
	block, err := readBlock(data, name)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(block)
	if err != nil {
		return nil, fmt.Errorf("%s is not a public key: %w", name, err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s is not an ECDSA key", name)
	}
	return key, nil
}

// write adds the files of a rotation to the data of the Secret.
func (o outgoing) write(data map[string][]byte) {
	if o.ca == nil {
		return
	}
	public, err := x509.MarshalPKIXPublicKey(o.accounts)
	if err != nil {
		panic(fmt.Sprintf("pki: cannot encode an ECDSA key: %v", err))
	}
	data[KeyFormerCA], data[KeyCrossCA] = encodeCert(o.ca.Raw), encodeCert(o.cross.Raw)
	data[KeyFormerServiceAccount] = pem.EncodeToMemory(&pem.Block{Type: blockPublicKey, Bytes: public})
	data[KeyRotated] = []byte(o.since.UTC().Format(time.RFC3339))
	if o.peers != nil {
		data[KeyFormerPeers], data[KeyCrossPeers] = encodeCert(o.peers.Raw), encodeCert(o.crossPeers.Raw)
	}
}

// caPEM returns the authority from before as PEM, empty if there is none.
func (o outgoing) caPEM() []byte {
	if o.ca == nil {
		return nil
	}
	return encodeCert(o.ca.Raw)
}

// crossPEM returns the new authority with the signature of the one before as PEM, empty
// if there is none.
func (o outgoing) crossPEM() []byte {
	if o.cross == nil {
		return nil
	}
	return encodeCert(o.cross.Raw)
}
