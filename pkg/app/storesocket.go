package app

import (
	"context"
	"path/filepath"

	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/app/storesocket"
)

// storeSocketName is the socket in the data directory that gives access to the store. Whoever
// can open it could also read the files of the store.
const storeSocketName = "store.sock"

// storeSocket returns the path of the socket.
func (a *configuration) storeSocket() string {
	return filepath.Join(a.options.DataDir, storeSocketName)
}

// serveStoreSocket gives commands in the same container access to a store that only this process
// can open. The virtual cluster also works without the socket.
func (a *builtApp) serveStoreSocket(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.store.served.Opened():
	}
	if err := storesocket.Serve(ctx, a.storeSocket(), a.store.Dial); err != nil {
		klog.InfoS("Cannot serve the store to commands in this container", "err", err)
	}
	<-ctx.Done()
	return nil
}
