package controlplane

import (
	"context"
	"fmt"

	etcd "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/sublet-dev/sublet/pkg/controlplane/encryption"
)

// openEncryption loads the keys that the store needs.
func (c *ControlPlane) openEncryption(ctx context.Context, client *etcd.Client) error {
	options := c.config.Encryption
	options.Clock = c.config.Clock
	options.Purge = c.config.Storage.Capabilities().Purge
	opened, err := encryption.Open(ctx, client, options)
	if err != nil {
		return fmt.Errorf("cannot use the encryption of the store: %w", err)
	}
	c.encryption.Store(opened)
	go opened.Follow(ctx)
	return nil
}

// RunEncryption rewrites stored values that are not encrypted as the settings want it.
// Only the leader runs it, after [ControlPlane.Ready].
func (c *ControlPlane) RunEncryption(ctx context.Context) error {
	return c.encryption.Load().Run(ctx)
}
