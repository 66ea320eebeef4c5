package storage

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
)

const (
	// peerHeaderTimeout bounds how long a peer may take to send a request's
	// headers.
	peerHeaderTimeout = 10 * time.Second

	// peerAuthorityFile and peerCertFile are the files in the data directory from
	// which etcd reads the certificates of a connection that it opens.
	peerAuthorityFile = "peer-ca.crt"
	peerCertFile      = "peer.pem"
)

// PeerTLS is how the members of a store prove to each other who they are.
type PeerTLS struct {
	// Authority signs the certificates of members and of nobody else. It is PEM.
	Authority []byte
	// Certificate returns the certificate of this member and its key, as PEM. It is
	// valid for servers and clients. Its common name is the name of the member.
	Certificate func() (certificate, key []byte)
}

// UpdatePeerCertificate makes new connections to other members use the current
// certificate. It is called after a renewal.
func (e *Etcd) UpdatePeerCertificate() error {
	if e.PeerTLS == nil {
		return nil
	}
	certificate, key := e.PeerTLS.Certificate()
	for name, content := range map[string][]byte{
		peerAuthorityFile: e.PeerTLS.Authority,
		// One file, so that certificate and key always match.
		peerCertFile: append(append([]byte{}, certificate...), key...),
	} {
		path := filepath.Join(e.Dir, name)
		if err := os.WriteFile(path+".new", content, 0o600); err != nil {
			return fmt.Errorf("cannot write the certificate for other members: %w", err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return fmt.Errorf("cannot write the certificate for other members: %w", err)
		}
	}
	return nil
}

// peerTLSInfo returns the files for the connections that etcd opens.
func (e *Etcd) peerTLSInfo() transport.TLSInfo {
	if e.PeerTLS == nil {
		return transport.TLSInfo{}
	}
	pair := filepath.Join(e.Dir, peerCertFile)
	return transport.TLSInfo{
		CertFile: pair, KeyFile: pair, TrustedCAFile: filepath.Join(e.Dir, peerAuthorityFile), MinVersion: tls.VersionTLS13,
	}
}

// tlsConfig returns the configuration of both sides of a connection between
// members, nil without TLS.
func (p *PeerTLS) tlsConfig() (*tls.Config, error) {
	if p == nil {
		return nil, nil //nolint:nilnil // no configuration means no TLS
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(p.Authority) {
		return nil, errors.New("cannot read the authority of the members: it is not a certificate in PEM")
	}
	current := func() (*tls.Certificate, error) {
		pair, err := tls.X509KeyPair(p.Certificate())
		return &pair, err
	}
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		ClientAuth:           tls.RequireAndVerifyClientCert,
		ClientCAs:            authorities,
		RootCAs:              authorities,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return current() },
	}, nil
}

// preparePeers writes the certificate for etcd and creates the client with which
// this member calls others.
func (e *Etcd) preparePeers() error {
	if err := e.UpdatePeerCertificate(); err != nil {
		return err
	}
	config, err := e.PeerTLS.tlsConfig()
	if err != nil {
		return err
	}
	e.caller = &peerCaller{client: &http.Client{
		Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true},
	}}
	return nil
}

// peerServer serves other members.
type peerServer struct {
	server *http.Server
	done   chan struct{}
}

// servePeers serves other members on the listener until stop is called.
func (e *Etcd) servePeers() error {
	if e.PeerListener == nil {
		return nil
	}
	config, err := e.PeerTLS.tlsConfig()
	if err != nil {
		return err
	}
	listener := e.PeerListener
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	mux := http.NewServeMux()
	mux.Handle("/", etcdhttp.NewPeerHandler(e.server.Logger(), e.server))
	e.handlePeers(mux)
	e.peers = &peerServer{
		server: &http.Server{Handler: mux, ReadHeaderTimeout: peerHeaderTimeout, ErrorLog: discardLog()},
		done:   make(chan struct{}),
	}
	go func() {
		defer close(e.peers.done)
		_ = e.peers.server.Serve(listener)
	}()
	return nil
}

// stopPeers closes the listener and all connections.
func (e *Etcd) stopPeers() {
	if e.peers == nil {
		if e.PeerListener != nil {
			_ = e.PeerListener.Close()
		}
		return
	}
	_ = e.peers.server.Close()
	<-e.peers.done
}

// isFrom reports whether the request comes from the member of that name. Without TLS
// nobody can tell.
func isFrom(r *http.Request, name string) bool {
	if r.TLS == nil {
		return true
	}
	for _, chain := range r.TLS.VerifiedChains {
		if len(chain) > 0 && chain[0].Subject.CommonName == name {
			return true
		}
	}
	return false
}
