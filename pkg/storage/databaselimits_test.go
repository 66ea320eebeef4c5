package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/sublet-dev/sublet/test/databases"
)

// TestGoneReplicaKeepsNoLock loses the machine of a replica in the middle of a write. The server notices
// nothing, and another replica must be able to write soon.
func TestGoneReplicaKeepsNoLock(t *testing.T) {
	t.Parallel()
	for name, create := range map[string]func(*testing.T) (*databases.Server, string){
		"postgres": func(t *testing.T) (*databases.Server, string) {
			t.Helper()
			server := databases.Postgres(t, databases.Options{})
			return server, server.PostgresSource(databases.User, databases.Password, "gone")
		},
		"mariadb": func(t *testing.T) (*databases.Server, string) {
			t.Helper()
			server := databases.MariaDB(t, databases.Options{})
			return server, server.MySQLSource(databases.User, databases.Password, "gone")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, source := create(t)
			proxy := startProxy(t, server.Host)
			gone := Database(DatabaseOptions{DataSource: strings.Replace(source, server.Host, proxy.address, 1)})
			startKine(t, gone)
			ctx, cancel := context.WithCancel(t.Context())
			tx, err := gone.dialect.DB.BeginTx(ctx, nil)
			if err != nil {
				cancel()
				t.Fatal(err)
			}
			defer func() { cancel(); _ = tx.Rollback() }()
			if _, err := tx.ExecContext(ctx, gone.dialect.lock); err != nil {
				t.Fatal(err)
			}
			proxy.freeze()
			client := startKine(t, Database(DatabaseOptions{DataSource: source}))
			eventually(t, func() string {
				if _, err := client.Kubernetes.OptimisticPut(t.Context(), "/registry/a", []byte("1"), 0, kubernetes.PutOptions{}); err != nil {
					return err.Error()
				}
				return ""
			})
		})
	}
}

// TestInvalidKeys writes keys that a database cannot take. They are refused, and do not count as an outage.
// An API server has no limit for the names of some kinds.
func TestInvalidKeys(t *testing.T) {
	t.Parallel()
	for name, create := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, server := create(t)
			keys := []string{"/registry/clusterroles/" + random(5000)}
			if name == "mariadb" {
				server.Exec("SET GLOBAL sql_mode = ''")
			} else {
				keys = append(keys, "/registry/clusterroles/a\x00b")
			}
			store := open()
			client := startKine(t, store)
			for _, key := range keys {
				if got, err := client.Kubernetes.OptimisticPut(t.Context(), key, []byte("1"), 0, kubernetes.PutOptions{}); !errors.Is(err, errInvalid) {
					t.Errorf("create of a key of %d bytes: %v, %v, want %v", len(key), got, err, errInvalid)
				}
				if reason := store.health.reason(); reason != "" {
					t.Errorf("the database counts as away: %s", reason)
				}
			}
			mustPut(t, client, "/registry/clusterroles/a", "1", 0)
		})
	}
}

// random returns a text of at least n bytes that does not compress well.
func random(n int) string {
	var text strings.Builder
	for text.Len() < n {
		text.WriteString(rand.Text())
	}
	return text.String()
}
