package integration

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/snapshot"
	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/test/ports"
)

// ownCluster is an API server that a test stops, and whose store it replaces by an earlier copy.
type ownCluster struct {
	cluster
	dir   string
	store *snapshot.Served
	stop  func()
}

// newOwnCluster starts an API server.
func newOwnCluster(t *testing.T) *ownCluster {
	t.Helper()
	bundle, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &ownCluster{cluster: cluster{bundle: bundle, address: ports.Free(t, "127.0.0.1")}, dir: filepath.Join(t.TempDir(), "store")}
	c.start(t)
	t.Cleanup(func() { c.stop() })
	return c
}

// start starts the API server under the address that it had before.
func (c *ownCluster) start(t *testing.T) {
	t.Helper()
	var listener net.Listener
	// An API server that did not stop in time keeps the port until it has.
	eventually(t, "a free port", func(ctx context.Context) (err error) {
		listener, err = new(net.ListenConfig).Listen(context.WithoutCancel(ctx), "tcp", c.address)
		return err
	})
	c.address = listener.Addr().String()
	store := storage.Embedded(c.dir)
	store.NoSync = true
	c.store = snapshot.NewServed(store, "etcd.embedded")
	var err error
	c.plane, err = controlplane.New(controlplane.Config{Storage: c.store, PKI: c.bundle, Listener: listener})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	c.stop = func() { cancel(); <-ended }
	plane := c.plane
	go func() {
		defer close(ended)
		// Unlike RunWithControllers, Run waits for a store that closes slowly.
		var controllers sync.WaitGroup
		defer controllers.Wait()
		controllers.Go(func() {
			if err := plane.RunControllers(ctx); err != nil {
				t.Errorf("the controllers ended: %v", err)
			}
		})
		if err := plane.Run(ctx); err != nil {
			t.Errorf("the API server ended: %v", err)
		}
	}()
	select {
	case <-plane.Ready():
	case <-time.After(patience):
		t.Fatal("the API server is not ready")
	}
	if c.client, err = client.New(plane.ClientConfig("admin", pki.GroupAdmins), client.Options{}); err != nil {
		t.Fatal(err)
	}
}

// copyStore replaces a folder by a copy of another one.
func copyStore(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// restart stops the API server, calls change and starts it again.
func (c *ownCluster) restart(t *testing.T, change func()) {
	t.Helper()
	c.stop()
	change()
	c.start(t)
}
