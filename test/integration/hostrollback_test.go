package integration

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// moveTo installs the release on another host.
func (r *release) moveTo(t *testing.T, host *cluster) {
	t.Helper()
	others := *r.clusters
	others.host = host
	r.clusters = &others
	if err := host.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}); err != nil {
		t.Fatal(err)
	}
	anchor := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.cluster.Anchor.Name}}
	if err := host.client.Create(t.Context(), anchor); err != nil {
		t.Fatal(err)
	}
	r.cluster.UID, r.cluster.Anchor.UID = string(anchor.UID), anchor.UID
}

// TestHostRollback restores the host from a backup, so that its versions go back. Watches from a later version
// show nothing for a long time, and no error.
func TestHostRollback(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	own, backup := newOwnCluster(t), filepath.Join(t.TempDir(), "backup")
	r.moveTo(t, &own.cluster)
	config, _ := own.wire(t)
	e, err := syncer.NewEngine(syncer.Options{
		Cluster: r.cluster, Virtual: r.virtual.memory(), Host: config, Kinds: []syncer.Kind{r.configMaps()},
		VirtualInformers: planeInformers{r.virtual.plane},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	r.putMap(t, "changes", "1")
	gone := r.putMap(t, "goes", "1")
	r.has(t, "changes", "1")
	r.has(t, "goes", "1")
	own.restart(t, func() { copyStore(t, own.dir, backup) })
	if err := r.virtual.client.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	r.waitForNoCopy(t, "goes") // The engine works after an ordinary restart of the host.
	for i := range 300 {       // A start of the host writes too. The cache must be later than that.
		r.annotate(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.cluster.Anchor.Name}}, "n", strconv.Itoa(i))
	}
	r.putMap(t, "changes", "2")
	r.putMap(t, "comes", "1")
	r.has(t, "changes", "2")
	r.has(t, "comes", "1")
	eventually(t, "the engine's cache has the last write", func(ctx context.Context) error {
		reader, err := e.HostReader("configmaps")
		if err != nil {
			return err
		}
		return reader.Get(ctx, r.hostKey("comes"), &corev1.ConfigMap{})
	})
	own.restart(t, func() { copyStore(t, backup, own.dir) })
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "restored to an earlier state") {
			t.Fatalf("the engine ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the engine keeps caches that are newer than the host")
	}
	r.start(t, config, r.configMaps()).synced(t)
	r.waitForNoCopy(t, "goes")
	r.has(t, "changes", "2")
	r.has(t, "comes", "1")
}
