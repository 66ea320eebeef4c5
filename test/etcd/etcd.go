// Package etcd starts etcd servers for tests, as an operator runs them.
package etcd

import (
	"cmp"
	"net/url"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/sublet-dev/sublet/test/ports"
)

// patience bounds the start of a server.
const patience = 2 * time.Minute

// Options are the options of a server.
type Options struct {
	// IP is the address that it listens on. Default: 127.0.0.1.
	IP string
	// TLS are the files of the server, and the authority that it asks clients for. Default: it
	// does not encrypt.
	TLS transport.TLSInfo
	// Token identifies the cluster. Default: that of etcd.
	Token string
	// Quota is the limit of its data in bytes. Default: that of etcd.
	Quota int64
}

// Server is an etcd server of a test.
type Server struct {
	config *embed.Config
	etcd   *embed.Etcd
}

// Start starts a server and stops it with the test.
func Start(t *testing.T, o Options) *Server {
	t.Helper()
	config := embed.NewConfig()
	config.Dir = t.TempDir()
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	config.UnsafeNoFsync = true
	config.TickMs, config.ElectionMs = 10, 100
	config.QuotaBackendBytes, config.ClientTLSInfo = o.Quota, o.TLS
	config.InitialClusterToken = cmp.Or(o.Token, config.InitialClusterToken)
	client := url.URL{Scheme: "http", Host: ports.Free(t, cmp.Or(o.IP, "127.0.0.1"))}
	if !o.TLS.Empty() {
		client.Scheme = "https"
	}
	peer := url.URL{Scheme: "http", Host: ports.Free(t, "127.0.0.1")}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	s := &Server{config: config}
	s.Resume(t)
	t.Cleanup(s.Stop)
	return s
}

// Resume starts the server again after a stop, at the same address and with its data.
func (s *Server) Resume(t *testing.T) {
	t.Helper()
	config := *s.config
	server, err := embed.StartEtcd(&config)
	if err != nil {
		t.Fatalf("cannot start etcd: %v", err)
	}
	s.etcd = server
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(patience):
		t.Fatalf("etcd is not ready within %s", patience)
	}
}

// Stop stops the server. Its data stays.
func (s *Server) Stop() {
	if s.etcd != nil {
		s.etcd.Close()
		s.etcd = nil
	}
}

// Endpoint returns the URL of the server.
func (s *Server) Endpoint() string { return s.config.ListenClientUrls[0].String() }

// Etcd returns the running server, nil after a stop.
func (s *Server) Etcd() *embed.Etcd { return s.etcd }
