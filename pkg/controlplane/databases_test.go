package controlplane

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/test/databases"
)

// sqlStores returns a function for each kind of database that returns stores on the same
// one.
func sqlStores() map[string]func(t *testing.T) func() storage.Backend {
	return map[string]func(t *testing.T) func() storage.Backend{
		"sqlite": func(t *testing.T) func() storage.Backend {
			t.Helper()
			dir := t.TempDir()
			return func() storage.Backend {
				awaitFree(t, dir)
				return storage.SQLite(dir)
			}
		},
		"postgres": func(t *testing.T) func() storage.Backend {
			t.Helper()
			server := databases.Postgres(t, databases.Options{TLS: true})
			return func() storage.Backend {
				return storage.Database(storage.DatabaseOptions{
					DataSource: server.PostgresSource(databases.User, databases.Password, "plane"), TLS: storage.TLSFiles{CA: server.CAFile},
				})
			}
		},
		"mariadb": func(t *testing.T) func() storage.Backend {
			t.Helper()
			server := databases.MariaDB(t, databases.Options{})
			return func() storage.Backend {
				return storage.Database(storage.DatabaseOptions{
					DataSource: server.MySQLSource(databases.User, databases.Password, "plane"),
				})
			}
		},
	}
}

// TestAPIServerOnDatabases runs the whole API server, with controllers, on each kind of
// database, and once more on what the first one has left.
func TestAPIServerOnDatabases(t *testing.T) {
	t.Parallel()
	for name, create := range sqlStores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open := create(t)
			bundle := newBundle(t)
			began := time.Now()
			first := startPlane(t, Config{Storage: open(), PKI: bundle})
			t.Logf("start: %v", time.Since(began).Round(time.Millisecond))
			checkObjects(t, first)
			if err := first.stop(); err != nil {
				t.Fatalf("stop: %v", err)
			}

			began = time.Now()
			second := startPlane(t, Config{Storage: open(), PKI: bundle})
			t.Logf("second start: %v", time.Since(began).Round(time.Millisecond))
			kept, err := second.client.CoreV1().ConfigMaps("default").Get(t.Context(), "watched", metav1.GetOptions{})
			if err != nil || kept.Data["k"] != "2" {
				t.Errorf("after a restart: %v, %v, want the object as it was", kept.Data, err)
			}
			if err := second.stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
}

// checkObjects checks watches, conflicts, pages, consistent lists and deletes.
func checkObjects(t *testing.T, p *plane) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	maps := p.client.CoreV1().ConfigMaps("default")
	empty, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "test=yes"})
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := maps.Watch(ctx, metav1.ListOptions{LabelSelector: "test=yes", ResourceVersion: empty.ResourceVersion, AllowWatchBookmarks: true})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	created, err := maps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "watched", Labels: map[string]string{"test": "yes"}}, Data: map[string]string{"k": "1"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Patch(ctx, "watched", types.MergePatchType, []byte(`{"data":{"k":"2"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	created.Data["k"] = "3"
	if _, err := maps.Update(ctx, created, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of an old version: %v, want a conflict", err)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Modified} {
		select {
		case event := <-watcher.ResultChan():
			if event.Type != want {
				t.Errorf("event %s, want %s", event.Type, want)
			}
		case <-ctx.Done():
			t.Fatalf("no event %s", want)
		}
	}
	checkPages(ctx, t, p)
}

// checkPages checks lists in pages, and that a list has what was written before.
func checkPages(ctx context.Context, t *testing.T, p *plane) {
	t.Helper()
	maps := p.client.CoreV1().ConfigMaps("default")
	for i := range 12 {
		name := fmt.Sprintf("page-%02d", i)
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"page": "yes"}}}
		if _, err := maps.Create(ctx, object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		all, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "page=yes"})
		if err != nil || len(all.Items) != i+1 {
			t.Fatalf("a list after %d creates has %d, %v", i+1, len(all.Items), err)
		}
	}
	var names []string
	options := metav1.ListOptions{Limit: 5}
	for {
		page, err := maps.List(ctx, options)
		if err != nil {
			t.Fatal(err)
		}
		for i := range page.Items {
			names = append(names, page.Items[i].Name)
		}
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	if len(names) < 13 {
		t.Errorf("pages have %d names: %v", len(names), names)
	}
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "page=yes"}); err != nil {
		t.Fatal(err)
	}
	left, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "page=yes"})
	if err != nil || len(left.Items) != 0 {
		t.Errorf("after a delete of all: %d, %v", len(left.Items), err)
	}
}
