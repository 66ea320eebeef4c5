package databases

import (
	"net"
	"os"
	"path/filepath"

	"github.com/sublet-dev/sublet/test/certificates"
)

// certificate writes a certificate for the server and the CA that it comes from.
func (s *Server) certificate() (certFile, keyFile string) {
	s.t.Helper()
	ca := certificates.NewAuthority(s.t, "test CA")
	s.CAFile = filepath.Join(s.t.TempDir(), "ca.crt")
	if err := os.WriteFile(s.CAFile, ca.CertPEM(), 0o600); err != nil {
		s.t.Fatal(err)
	}
	pair := certificates.NewLeaf(s.t, ca, "database", net.ParseIP(s.address()))
	return s.write("tls.crt", pair.CertPEM()), s.write("tls.key", pair.KeyPEM(s.t))
}
