package storage

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/sublet-dev/sublet/test/databases"
)

// TestDatabaseErrors checks what an operator reads if a database cannot be used: one line
// that names what is wrong, and never the password.
func TestDatabaseErrors(t *testing.T) {
	t.Parallel()
	postgres := databases.Postgres(t, databases.Options{TLS: true})
	mariadb := databases.MariaDB(t, databases.Options{TLS: true})
	postgres.Exec(`CREATE ROLE poor LOGIN PASSWORD 'secret-word'`)
	postgres.Exec(`CREATE DATABASE closed`)
	mariadb.Exec(`CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'secret-word'`)
	noCA := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(noCA, []byte("secret-word"), 0o600); err != nil {
		t.Fatal(err)
	}
	closed := "127.0.0.1:1"

	for name, test := range map[string]struct {
		options DatabaseOptions
		want    string
	}{
		"no scheme": {
			DatabaseOptions{DataSource: "root:secret-word@tcp(host)/db"},
			"cannot use the data source: it must begin with mysql:// or postgres://",
		},
		"unknown kind": {
			DatabaseOptions{DataSource: "oracle://root:secret-word@host/db"},
			`cannot use a data source of kind "oracle": it must begin with mysql:// or postgres://`,
		},
		"no file": {
			DatabaseOptions{DataSourceFile: "/nowhere/dataSource"},
			"cannot read the data source: open /nowhere/dataSource: no such file or directory",
		},
		"no URL": {
			DatabaseOptions{DataSource: "postgres://root:secret-word%@host/db"},
			"cannot use the data source: it is no URL; special characters of the password must be percent-encoded",
		},
		"form of MySQL": {
			DatabaseOptions{DataSource: "mysql://root:secret-word@host:3306/db"},
			"cannot use the data source: it must be mysql://user:password@tcp(host:port)/database",
		},
		"no certificate in the CA": {
			DatabaseOptions{DataSource: "postgres://root:secret-word@host/db", TLS: TLSFiles{CA: noCA}},
			"cannot use the CA of the database: FILE has no certificate",
		},
		"unknown host": {
			DatabaseOptions{DataSource: "postgres://root:secret-word@nowhere.invalid/db"},
			"cannot find the host of the PostgreSQL server nowhere.invalid:5432: no such host",
		},
		"nobody listens, PostgreSQL": {
			DatabaseOptions{DataSource: "postgres://root:secret-word@" + closed + "/db"},
			"cannot reach the PostgreSQL server 127.0.0.1:1: connect: connection refused",
		},
		"nobody listens, MySQL": {
			DatabaseOptions{DataSource: "mysql://root:secret-word@tcp(" + closed + ")/db"},
			"cannot reach the MySQL server 127.0.0.1:1: connect: connection refused",
		},
		"wrong password, PostgreSQL": {
			DatabaseOptions{DataSource: postgres.PostgresSource(databases.User, "secret-word", "db"), TLS: TLSFiles{CA: postgres.CAFile}},
			`cannot log in to the PostgreSQL server HOST as user "sublet": wrong user or password`,
		},
		"wrong password, MySQL": {
			DatabaseOptions{DataSource: mariadb.MySQLSource(databases.User, "secret-word", "db"), TLS: TLSFiles{CA: mariadb.CAFile}},
			`cannot log in to the MySQL server HOST as user "sublet": wrong user or password, or the server wants encryption`,
		},
		"encryption is missing, PostgreSQL": {
			DatabaseOptions{DataSource: postgres.PostgresSource("poor", "secret-word", "closed") + "?sslmode=disable"},
			`cannot log in to the PostgreSQL server HOST as user "poor": no pg_hba.conf entry for host "127.0.0.1", user "poor", database "closed", no encryption`,
		},
		"wrong CA, PostgreSQL": {
			DatabaseOptions{DataSource: postgres.PostgresSource("poor", "secret-word", "closed"), TLS: TLSFiles{CA: mariadb.CAFile}},
			"cannot trust the PostgreSQL server HOST: its certificate is not from the given CA",
		},
		"wrong CA, MySQL": {
			DatabaseOptions{DataSource: mariadb.MySQLSource("poor", "secret-word", "closed"), TLS: TLSFiles{CA: postgres.CAFile}},
			"cannot trust the MySQL server HOST: its certificate is not from the given CA",
		},
		"no database, PostgreSQL": {
			DatabaseOptions{DataSource: postgres.PostgresSource("poor", "secret-word", "missing"), TLS: TLSFiles{CA: postgres.CAFile}},
			`cannot use database "missing" on the PostgreSQL server HOST: it does not exist, and user "poor" may not create it`,
		},
		"no permission, PostgreSQL": {
			DatabaseOptions{DataSource: postgres.PostgresSource("poor", "secret-word", "closed"), TLS: TLSFiles{CA: postgres.CAFile}},
			`cannot use database "closed" on the PostgreSQL server HOST: user "poor" needs all permissions on it`,
		},
		"no permission, MySQL": {
			DatabaseOptions{DataSource: mariadb.MySQLSource("poor", "secret-word", "missing"), TLS: TLSFiles{CA: mariadb.CAFile}},
			`cannot use database "missing" on the MySQL server HOST: user "poor" needs all permissions on it`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := Database(test.options)
			store.Waiter.Report = func(string) {}
			err := store.engine.prepare(t.Context())
			if err == nil {
				t.Fatalf("no error, want %q", test.want)
			}
			got := regexp.MustCompile(`127\.0\.0\.1:\d{2,}`).ReplaceAllString(err.Error(), "HOST")
			got = strings.ReplaceAll(got, noCA, "FILE")
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			if strings.Contains(err.Error(), "secret-word") {
				t.Error("the error has the password")
			}
		})
	}
}

func TestVersionsOfMySQL(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"5.7.44": true, "8.0.36": false, "8.4.0": false, "9.1.0-commercial": false,
	} {
		if got := isOlder(version, oldestMySQL); got != want {
			t.Errorf("MySQL %s: too old %t, want %t", version, got, want)
		}
	}
	for version, want := range map[string]bool{
		"10.5.23-MariaDB": true, "10.6.1-MariaDB-log": false, "10.11.14-MariaDB-0+deb12u2": false, "11.4.2-MariaDB": false,
	} {
		if got := isOlder(version, oldestMariaDB); got != want {
			t.Errorf("MariaDB %s: too old %t, want %t", version, got, want)
		}
	}
}

// TestRefusedCreateIsAnError writes a key that the database refuses, while reads succeed.
// kine alone takes that for a success.
func TestRefusedCreateIsAnError(t *testing.T) {
	t.Parallel()
	server := databases.Postgres(t, databases.Options{})
	store := Database(DatabaseOptions{DataSource: server.PostgresSource(databases.User, databases.Password, "refusing")})
	client := startKine(t, store)
	if _, err := store.dialect.DB.ExecContext(t.Context(), `ALTER TABLE kine ADD CHECK (name NOT LIKE '/refused/%' AND value <> 'refused')`); err != nil {
		t.Fatal(err)
	}
	created, err := client.Kubernetes.OptimisticPut(t.Context(), "/refused/a", []byte("1"), 0, kubernetes.PutOptions{})
	if err == nil {
		t.Errorf("a create that the database refuses: succeeded %t at revision %d, want an error", created.Succeeded, created.Revision)
	}
	revision := mustPut(t, client, "/registry/a", "1", 0)
	updated, err := client.Kubernetes.OptimisticPut(t.Context(), "/registry/a", []byte("refused"), revision, kubernetes.PutOptions{})
	if err == nil {
		t.Errorf("an update that the database refuses: succeeded %t, want an error", updated.Succeeded)
	}
}

// TestWaitsForDatabase starts a store before its database, and repairs the data source
// while it waits.
func TestWaitsForDatabase(t *testing.T) {
	t.Parallel()
	server := databases.Postgres(t, databases.Options{})
	file := filepath.Join(t.TempDir(), "dataSource")
	write := func(content string) {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(server.PostgresSource(databases.User, "wrong", "later") + "\n")
	server.Kill()
	reasons := make(chan string, 100)
	store := Database(DatabaseOptions{DataSourceFile: file})
	store.Waiter.Report = func(reason string) { reasons <- reason }
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	started := make(chan error, 1)
	go func() {
		_, err := store.Start(ctx)
		started <- err
	}()
	t.Cleanup(store.Stop)
	awaitReason(ctx, t, reasons, "connection refused")
	server.Start()
	awaitReason(ctx, t, reasons, "wrong user or password")
	write(server.PostgresSource(databases.User, databases.Password, "later"))
	if err := <-started; err != nil {
		t.Fatalf("Start: %v", err)
	}
}

// awaitReason waits until the store reports a reason with the given text.
func awaitReason(ctx context.Context, t *testing.T, reasons <-chan string, text string) {
	t.Helper()
	for {
		select {
		case reason := <-reasons:
			if strings.Contains(reason, text) {
				return
			}
		case <-ctx.Done():
			t.Fatalf("the store never reports %q", text)
		}
	}
}
