package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"maps"
	"time"
)

// Names of the files of the authority of the members of the embedded store.
const (
	KeyPeersCert = "peer-ca.crt"
	KeyPeersKey  = "peer-ca.key"
)

var errNoPeers = errors.New("the certificates of the virtual cluster have no authority for the members of the store")

// WithPeers returns the data of the Secret with an authority for the members of the
// embedded store. changed is false if it has one. A Secret of an earlier release has none.
//
// The authority signs nothing else, and nothing else signs for members. So no certificate
// that a tenant gets opens the store.
func WithPeers(data map[string][]byte, now time.Time) (complete map[string][]byte, changed bool, err error) {
	if len(data[KeyPeersCert]) > 0 {
		return data, false, nil
	}
	peers, err := newAuthority("store-peers", now)
	if err != nil {
		return nil, false, err
	}
	complete = map[string][]byte{}
	maps.Copy(complete, data)
	peers.write(complete, KeyPeersCert, KeyPeersKey)
	return complete, true, nil
}

// readPeers reads the authority of the members. It is empty in a Secret of an earlier
// release.
func readPeers(data map[string][]byte) (authority, error) {
	if len(data[KeyPeersCert]) == 0 {
		return authority{}, nil
	}
	return readAuthority(data, KeyPeersCert, KeyPeersKey)
}

// write adds the authority to the data of a Secret, if there is one.
func (a authority) write(data map[string][]byte, certName, keyName string) {
	if a.cert == nil {
		return
	}
	data[certName], data[keyName] = encodeCert(a.cert.Raw), mustEncodeKey(a.key)
}

// PeerCA returns the authority of the members as PEM, and during a rotation also the one that it replaces. It is nil
// if there is none.
func (b *Bundle) PeerCA() []byte {
	if b.peers.cert == nil {
		return nil
	}
	authorities := encodeCert(b.peers.cert.Raw)
	if b.outgoing.peers != nil {
		authorities = append(authorities, encodeCert(b.outgoing.peers.Raw)...)
	}
	return authorities
}

// Peer issues the certificate of one member of the store, with which it serves others and
// calls them. Its common name is the name of the member.
func (b *Bundle) Peer(now time.Time, member string, names Names) (Pair, error) {
	if b.peers.cert == nil {
		return Pair{}, fmt.Errorf("cannot issue a certificate for %s: %w", member, errNoPeers)
	}
	pair, err := b.peers.issue(now, &x509.Certificate{
		Subject:     pkix.Name{CommonName: member},
		DNSNames:    names.DNS,
		IPAddresses: names.IPs,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	if b.outgoing.crossPeers != nil { // A member that has not started again trusts only the authority before.
		pair.Cert = append(pair.Cert, encodeCert(b.outgoing.crossPeers.Raw)...)
	}
	return pair, err
}
