package snapshot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/test/databases"
)

const (
	patience = 30 * time.Second
	anchor   = "anchor-1"
)

// embedded returns a store on a volume.
func embedded(t *testing.T) Store {
	t.Helper()
	dir := t.TempDir()
	return Store{
		Location: "etcd.embedded", OnVolume: true,
		Open: func() (storage.Backend, error) {
			store := storage.Embedded(dir)
			store.NoSync, store.Logger = true, zap.NewNop()
			return store, nil
		},
	}
}

// remote is an etcd that the test reaches by gRPC, as one outside of the process.
type remote struct {
	endpoint string
	client   *kubernetes.Client
}

func (r *remote) Start(ctx context.Context) (*kubernetes.Client, error) {
	client, err := kubernetes.New(clientv3.Config{Endpoints: []string{r.endpoint}, DialTimeout: time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	r.client = client
	_, err = client.Status(ctx, r.endpoint)
	return client, err
}

func (r *remote) Dial(context.Context) (net.Conn, error) { return nil, errors.ErrUnsupported }
func (r *remote) Failed() <-chan struct{}                { return nil }
func (r *remote) Capabilities() storage.Capabilities     { return storage.Capabilities{} }
func (r *remote) Stop() {
	if r.client != nil {
		_ = r.client.Close()
	}
}

// external starts an etcd server and returns a store in it.
func external(t *testing.T) Store {
	t.Helper()
	config := embed.NewConfig()
	config.Dir, config.Logger, config.LogLevel = t.TempDir(), "zap", "fatal"
	config.UnsafeNoFsync = true
	local := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	config.ListenClientUrls, config.ListenPeerUrls = []url.URL{local}, []url.URL{local}
	server, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatalf("cannot start etcd: %v", err)
	}
	t.Cleanup(server.Close)
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(patience):
		t.Fatal("etcd did not start")
	}
	endpoint := "http://" + server.Clients[0].Addr().String()
	return Store{
		Location: "etcd.external " + endpoint,
		Open:     func() (storage.Backend, error) { return &remote{endpoint: endpoint}, nil },
	}
}

// sqlite returns a store in an SQLite database.
func sqlite(t *testing.T) Store {
	t.Helper()
	databases.SkipUnderRace(t)
	dir := t.TempDir()
	return Store{
		Location: "database.embedded", OnVolume: true,
		Open: func() (storage.Backend, error) { return storage.SQLite(dir), nil },
	}
}

// postgres returns a store in a PostgreSQL database of its own server.
func postgres(t *testing.T) Store {
	t.Helper()
	server := databases.Postgres(t, databases.Options{})
	return database("postgres", server.PostgresSource(databases.User, databases.Password, ""))
}

// mariadb returns a store in a MariaDB database of its own server.
func mariadb(t *testing.T) Store {
	t.Helper()
	server := databases.MariaDB(t, databases.Options{})
	return database("mysql", server.MySQLSource(databases.User, databases.Password, ""))
}

func database(kind, source string) Store {
	options := storage.DatabaseOptions{DataSource: source, Name: "sublet_test"}
	return Store{
		Location: "database.external " + kind,
		Open:     func() (storage.Backend, error) { return storage.Database(options), nil },
	}
}

// use calls do with a client of a store that is started for it.
func use(t *testing.T, store Store, do func(client *clientv3.Client)) {
	t.Helper()
	client, _, stop, err := open(t.Context(), store)
	if err != nil {
		t.Fatalf("cannot open %s: %v", store.Location, err)
	}
	defer stop()
	do(client)
}

// fill writes objects, some of them with a lease, and some history.
func fill(t *testing.T, store Store, objects int) {
	t.Helper()
	use(t, store, func(client *clientv3.Client) {
		page := make([]storage.Entry, 0, objects)
		for i := range objects {
			page = append(page, storage.Entry{Key: fmt.Appendf(nil, "/registry/configmaps/default/c%05d", i), Value: fmt.Appendf(nil, "value %d", i)})
		}
		for i := range 7 {
			page = append(page, storage.Entry{Key: fmt.Appendf(nil, "/registry/events/default/e%d", i), Value: []byte("event"), TTL: 1000})
		}
		if err := newWriter(client, nil).write(t.Context(), page); err != nil {
			t.Fatal(err)
		}
		for _, own := range [][2]string{{identityKey, encode(map[string]string{"anchor": anchor})}} {
			if _, err := client.Put(t.Context(), own[0], own[1]); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// newMover returns a mover between two stores.
func newMover(source, target Store) *Mover {
	return &Mover{
		Source: source, Target: target, Cluster: anchor, Identity: encode(map[string]string{"anchor": anchor}), By: "release-0",
		Clock: testingclock.NewFakePassiveClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
	}
}
