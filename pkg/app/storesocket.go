package app

import (
	"context"
	"path/filepath"

	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/app/storesocket"
)

// storeSocketName is the socket in the data directory that leads to the store. Whoever
// can use it can read the files of the store as well.
const storeSocketName = "store.sock"

// storeSocket returns the path of the socket.
func (a *app) storeSocket() string { return filepath.Join(a.options.DataDir, storeSocketName) }

// serveStoreSocket lets commands in the same container reach a store that only this
// process can open. Without the socket the virtual cluster works all the same.
func (a *app) serveStoreSocket(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.served.Opened():
	}
	if err := storesocket.Serve(ctx, a.storeSocket(), a.store.Dial); err != nil {
		klog.InfoS("Cannot serve the store to commands in this container", "err", err)
	}
	<-ctx.Done()
	return nil
}
