package databases

import (
	"net/url"
	"path/filepath"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // driver of the administrator
)

// Options tell how a server is set up.
type Options struct {
	// TLS makes the server take encrypted connections only.
	TLS bool
	// Address is the IP that the server listens on. Default: 127.0.0.1, for this machine.
	Address string
}

// Postgres starts a PostgreSQL server and ends it with the test. A confirmed write
// survives Kill.
func Postgres(t *testing.T, options Options) *Server {
	t.Helper()
	SkipUnderRace(t)
	server := find(t, "postgres", "/usr/lib/postgresql/*/bin/postgres")
	initdb := find(t, "initdb", "/usr/lib/postgresql/*/bin/initdb")
	s := newServer(t, "postgres", options.Address)
	data := filepath.Join(s.dir, "data")
	s.run(initdb, "--pgdata", data, "--username", "postgres", "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C")
	s.program, s.driver = server, "pgx"
	s.admin = "postgres://postgres@" + s.Host + "/postgres"
	access := "host all postgres samehost trust\nhost all all all scram-sha-256\n"
	// The page cache of the kernel outlives the process.
	s.args = []string{"-D", data, "-c", "listen_addresses=" + s.address(), "-c", "port=" + s.port(), "-c", "unix_socket_directories=", "-c", "fsync=off"}
	if options.TLS {
		access = "host all postgres samehost trust\nhostssl all all all scram-sha-256\n"
		certificate, key := s.certificate()
		s.args = append(s.args, "-c", "ssl=on", "-c", "ssl_cert_file="+certificate, "-c", "ssl_key_file="+key)
	}
	s.write("data/pg_hba.conf", []byte(access))
	t.Cleanup(s.Kill)
	s.Start()
	s.Exec("CREATE ROLE " + User + " LOGIN CREATEDB PASSWORD " + quote(Password))
	return s
}

// PostgresSource returns the data source of a database of a PostgreSQL server.
func (s *Server) PostgresSource(name, password, database string) string {
	return (&url.URL{Scheme: "postgres", User: url.UserPassword(name, password), Host: s.Host, Path: "/" + database}).String()
}
