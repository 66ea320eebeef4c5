package snapshot

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/test/databases"
)

const (
	patience = 3 * time.Minute
	anchor   = "anchor-1"
)

// Kinds of store.
const (
	kindEmbedded = "embedded etcd"
	kindExternal = "external etcd"
	kindSQLite   = "SQLite"
	kindPostgres = "PostgreSQL"
	kindMariaDB  = "MariaDB"
)

// location is where a store of a test is. Another process can open it too.
type location struct {
	// Kind is one of the kinds above.
	Kind string `json:"kind"`
	// Where is a directory, an endpoint or a data source.
	Where string `json:"where"`
	// Name is the key prefix or the database.
	Name string `json:"name"`
}

// store returns the store at the place.
func (p location) store() Store {
	store := Store{Location: strings.TrimSpace(p.Kind + " " + p.Name)}
	switch p.Kind {
	case kindEmbedded:
		store.OnVolume = true
		store.Open = func() (storage.Backend, error) {
			etcd := storage.Embedded(p.Where)
			etcd.NoSync, etcd.Logger = true, zap.NewNop()
			return etcd, nil
		}
	case kindSQLite:
		store.OnVolume = true
		store.Open = func() (storage.Backend, error) { return storage.SQLite(p.Where), nil }
	case kindExternal:
		store.Open = func() (storage.Backend, error) {
			return &storage.External{Endpoints: []string{p.Where}, Prefix: p.Name}, nil
		}
	default:
		store.Open = func() (storage.Backend, error) {
			return storage.Database(storage.DatabaseOptions{DataSource: p.Where, Name: p.Name}), nil
		}
	}
	return store
}

// embedded returns a store on a volume.
func embedded(t *testing.T) Store {
	t.Helper()
	return location{Kind: kindEmbedded, Where: t.TempDir()}.store()
}

// external starts an etcd server and returns a store in it.
func external(t *testing.T) Store {
	t.Helper()
	return externalPlace(t).store()
}

// externalPlace starts an etcd server and returns a place in it.
func externalPlace(t *testing.T) location {
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
	address := server.Clients[0].Addr().String()
	return location{Kind: kindExternal, Where: "http://" + address, Name: "/" + address + "/"}
}

// servers are the database servers of a group of tests, and the places that it has used.
type servers struct {
	postgres, mariadb *databases.Server
	used              atomic.Int32
}

// newLocation returns an empty place of the given kind.
func (s *servers) newLocation(t *testing.T, kind string) location {
	t.Helper()
	name := fmt.Sprintf("sublet_%d", s.used.Add(1))
	switch kind {
	case kindExternal:
		return externalPlace(t)
	case kindPostgres:
		return location{Kind: kind, Where: s.postgres.PostgresSource(databases.User, databases.Password, ""), Name: name}
	case kindMariaDB:
		return location{Kind: kind, Where: s.mariadb.MySQLSource(databases.User, databases.Password, ""), Name: name}
	case kindSQLite:
		databases.SkipUnderRace(t)
	}
	return location{Kind: kind, Where: t.TempDir()}
}

// pair is a move from a store of one kind to one of another.
type pair struct{ source, target string }

func (p pair) String() string { return p.source + " to " + p.target }

func (p pair) has(kind string) bool { return p.source == kind || p.target == kind }

// allPairs returns the moves between two of the four stores in each direction, those
// between two servers of a kind, and some with MariaDB.
func allPairs() []pair {
	kinds := []string{kindEmbedded, kindExternal, kindSQLite, kindPostgres}
	pairs := []pair{
		{kindExternal, kindExternal},
		{kindPostgres, kindMariaDB},
		{kindMariaDB, kindExternal},
		{kindEmbedded, kindMariaDB},
	}
	for _, source := range kinds {
		for _, target := range kinds {
			if source != target {
				pairs = append(pairs, pair{source, target})
			}
		}
	}
	return pairs
}

// forEachPair calls do for each pair, in parallel once the test is. Pairs that need the same
// database server share it, and are skipped together if it is not installed.
//
// The servers start at once, so it is called before t.Parallel. A process that is being
// started has copies of all open files of other tests for a moment, and with them the locks.
func forEachPair(t *testing.T, pairs []pair, do func(t *testing.T, source, target location)) {
	t.Helper()
	groups := map[string][]pair{}
	for _, p := range pairs {
		group := "no database server"
		if p.has(kindPostgres) {
			group = kindPostgres
		}
		if p.has(kindMariaDB) {
			group = kindMariaDB
		}
		groups[group] = append(groups[group], p)
	}
	for group, pairs := range groups {
		t.Run(group, func(t *testing.T) {
			s := &servers{}
			hasKind := func(kind string) bool { return slices.ContainsFunc(pairs, func(p pair) bool { return p.has(kind) }) }
			if hasKind(kindPostgres) {
				s.postgres = databases.Postgres(t, databases.Options{})
			}
			if hasKind(kindMariaDB) {
				s.mariadb = databases.MariaDB(t, databases.Options{})
			}
			t.Parallel()
			for _, p := range pairs {
				t.Run(p.String(), func(t *testing.T) {
					t.Parallel()
					do(t, s.newLocation(t, p.source), s.newLocation(t, p.target))
				})
			}
		})
	}
}

// use calls do with a client of a store that is started for it.
func use(t *testing.T, store Store, do func(client *clientv3.Client)) {
	t.Helper()
	opened, err := open(t.Context(), store)
	if err != nil {
		t.Fatalf("cannot open %s: %v", store.Location, err)
	}
	defer opened.stop()
	do(opened.client)
}

// events is the number of keys with a lease in a filled store. Each has another lifetime.
const events = 7

// eventKey returns the key of an event.
func eventKey(i int) string { return fmt.Sprintf("/registry/events/default/e%d", i) }

// eventTTL returns the lifetime of an event in seconds.
func eventTTL(i int) int64 { return int64(1000 * (i + 1)) }

// contentOf returns what fill writes.
func contentOf(objects int) map[string]string {
	values := make(map[string]string, objects+events)
	for i := range objects {
		values[fmt.Sprintf("/registry/configmaps/default/c%05d", i)] = fmt.Sprintf("value %d", i)
	}
	for i := range events {
		values[eventKey(i)] = "event"
	}
	return values
}

// fill writes objects and events, and makes the store one of the virtual cluster.
func fill(t *testing.T, store Store, objects int) {
	t.Helper()
	page := make([]storage.Entry, 0, objects+events)
	ttls := map[string]int64{} // key -> lifetime in seconds
	for i := range events {
		ttls[eventKey(i)] = eventTTL(i)
	}
	for key, value := range contentOf(objects) {
		page = append(page, storage.Entry{Key: []byte(key), Value: []byte(value), TTL: ttls[key]})
	}
	backend, err := store.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Stop()
	client, err := backend.Start(t.Context())
	if err != nil {
		t.Fatalf("cannot open %s: %v", store.Location, err)
	}
	if err := newWriter(client.Client, backend.Capabilities()).write(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), identityKey, encode(map[string]string{"anchor": anchor})); err != nil {
		t.Fatal(err)
	}
}

// newMover returns a mover between two stores.
func newMover(source, target Store) *Mover {
	return &Mover{
		Source: source, Target: target, Cluster: anchor, Identity: encode(map[string]string{"anchor": anchor}), By: "release-0",
		Clock: testingclock.NewFakePassiveClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
	}
}
