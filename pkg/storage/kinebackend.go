package storage

import (
	"context"
	"errors"
	"time"

	"github.com/k3s-io/kine/pkg/logstructured"
	"github.com/k3s-io/kine/pkg/server"
	"github.com/k3s-io/kine/pkg/ttl"
	"k8s.io/utils/clock"
)

// expiryPause is the time before the expiry of leases starts again after an error.
const expiryPause = time.Second

// kineBackend returns the error of each write that may have failed. kine itself would report a refused
// create as successful, and a failed update as a conflict.
type kineBackend struct {
	*logstructured.LogStructured
	log   *kineLog
	clock clock.Clock
}

var _ server.Backend = &kineBackend{}

// start creates what kine needs and starts to read the writes of others.
func (b *kineBackend) start(ctx context.Context) error {
	if err := b.log.Start(ctx); err != nil {
		return err
	}
	if _, err := b.Create(ctx, server.HealthKey, []byte(server.HealthVal), 0); err != nil && !errors.Is(err, server.ErrKeyExists) {
		return err
	}
	// The first watch starts the reader. kine's watches hang if that fails.
	watching, stop := context.WithCancel(ctx)
	defer stop()
	if b.log.Watch(watching) == nil {
		return errors.New("cannot read the current revision")
	}
	return nil
}

// expire deletes keys whose lease has ended, until the context ends. kine's own loop ends
// when its watch does.
func (b *kineBackend) expire(ctx context.Context) {
	for {
		ttl.Run(ctx, b)
		select {
		case <-ctx.Done():
			return
		case <-b.clock.After(expiryPause):
		}
	}
}

// Create writes a key that does not exist.
func (b *kineBackend) Create(ctx context.Context, key string, value []byte, lease int64) (int64, error) {
	ctx, outcome := withOutcome(ctx)
	revision, err := b.LogStructured.Create(ctx, key, value, lease)
	if *outcome != nil {
		return 0, *outcome
	}
	return revision, err
}

// Update writes a key that has the given revision.
func (b *kineBackend) Update(ctx context.Context, key string, value []byte, revision, lease int64) (int64, *server.KeyValue, bool, error) {
	ctx, outcome := withOutcome(ctx)
	current, kv, ok, err := b.LogStructured.Update(ctx, key, value, revision, lease)
	if *outcome != nil {
		return 0, nil, false, *outcome
	}
	return current, kv, ok, err
}

// Delete deletes a key that has the given revision.
func (b *kineBackend) Delete(ctx context.Context, key string, revision int64) (int64, *server.KeyValue, bool, error) {
	ctx, outcome := withOutcome(ctx)
	current, kv, ok, err := b.LogStructured.Delete(ctx, key, revision)
	if *outcome != nil {
		return 0, nil, false, *outcome
	}
	return current, kv, ok, err
}
