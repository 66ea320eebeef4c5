package databases

import (
	"fmt"
	"path/filepath"
	"testing"

	_ "github.com/go-sql-driver/mysql" // driver of the administrator
)

// MariaDB starts a MariaDB server and ends it with the test. A confirmed write survives
// Kill.
func MariaDB(t *testing.T, options Options) *Server {
	t.Helper()
	SkipUnderRace(t)
	server := find(t, "mariadbd", "/usr/sbin/mariadbd")
	install := find(t, "mariadb-install-db")
	s := newServer(t, "mysql", options.Address)
	data := filepath.Join(s.dir, "data")
	s.run(install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
	s.program, s.driver = server, "mysql"
	s.admin = "root@tcp(" + s.Host + ")/mysql"
	s.args = []string{
		"--no-defaults", "--datadir=" + data, "--tmpdir=" + s.dir, "--port=" + s.port(), "--bind-address=" + s.address(), "--skip-name-resolve",
		"--socket=" + filepath.Join(s.dir, "socket"), "--pid-file=" + filepath.Join(s.dir, "pid"),
		// The page cache of the kernel outlives the process.
		"--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=32M", "--innodb-flush-method=fsync",
	}
	if options.TLS {
		certificate, key := s.certificate()
		s.args = append(s.args, "--ssl-cert="+certificate, "--ssl-key="+key)
	}
	t.Cleanup(s.Kill)
	s.Start()
	require := ""
	if options.TLS {
		require = " REQUIRE SSL"
	}
	s.Exec(fmt.Sprintf("CREATE USER %s IDENTIFIED BY %s%s", User, quote(Password), require))
	s.Exec(fmt.Sprintf("GRANT ALL ON *.* TO %s", User))
	return s
}

// MySQLSource returns the data source of a database of a MariaDB server.
func (s *Server) MySQLSource(name, password, database string) string {
	return fmt.Sprintf("mysql://%s:%s@tcp(%s)/%s", name, password, s.Host, database)
}
