package encryption

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	etcd "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/klog/v2"
)

const (
	// pageSize is the number of values that are read at once.
	pageSize = 100
	// historyAge is how long old revisions stay readable at most. Watches that resume
	// read them, with the key of their time.
	historyAge = 10 * time.Minute
	// firstPause and lastPause bound the pause after a failure, and between two looks
	// at the other replicas.
	firstPause = time.Second
	lastPause  = time.Minute
	// followPause is the time between two looks of a replica at what the leader has done.
	followPause = 30 * time.Second
)

// Run rewrites what is not stored as the settings want it, until ctx ends. Only the
// leader runs it. A failure delays it.
func (e *Encryption) Run(ctx context.Context) error {
	pause := firstPause
	for {
		done, err := e.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // The term has ended, which is no failure.
		case err != nil:
			e.status.fail(err)
			klog.InfoS("Cannot rewrite encrypted values, retrying", "err", err)
		case done:
			<-ctx.Done()
			return nil
		default:
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.options.Clock.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// Follow waits until the leader has rewritten everything, for the health of this replica.
// It returns then, or when ctx ends, and at once if nothing is encrypted.
func (e *Encryption) Follow(ctx context.Context) {
	for !e.status.isOff() {
		stored, err := e.readRecord(ctx)
		if err == nil && e.isSettled(&stored) {
			e.status.recordComplete(e.current())
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-e.options.Clock.After(followPause):
		}
	}
}

// step does all that can be done now. It reports whether nothing is left to do. Without
// an error it wants to be called again after a pause, because other replicas still write
// otherwise.
func (e *Encryption) step(ctx context.Context) (done bool, err error) {
	stored, err := e.readRecord(ctx)
	if err != nil {
		return false, err
	}
	if e.isSettled(&stored) {
		e.status.recordComplete(e.current())
		return true, nil
	}
	if !e.agrees(&stored) {
		e.status.set(stateWaiting)
		return false, nil
	}
	klog.InfoS("Rewriting values for the encryption at rest", "resources", stored.Resources)
	if err := e.rewriteAll(ctx, stored.Resources); err != nil {
		return false, err
	}
	e.status.set(stateHistory)
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-e.options.Clock.After(historyAge):
	}
	if err := e.rewriteAll(ctx, stored.Resources); err != nil {
		return false, err
	}
	// Before the record: it is what a restart goes by.
	if e.options.Purge != nil {
		if err := e.options.Purge(ctx); err != nil {
			klog.ErrorS(err, "Cannot remove replaced values from the store")
		}
	}
	written, err := e.updateRecord(ctx, e.reduceToOwn)
	if err != nil || !e.isSettled(&written) {
		return false, err
	}
	klog.InfoS("All values are stored as the settings want it", "encrypted", e.current() != nil)
	e.status.recordComplete(e.current())
	return true, nil
}

// rewriteAll rewrites the values of the resources until a whole pass finds none that
// needs it.
func (e *Encryption) rewriteAll(ctx context.Context, resources []string) error {
	for {
		pass := &pass{encryption: e}
		for _, resource := range resources {
			if err := pass.rewrite(ctx, resource); err != nil {
				return err
			}
		}
		switch {
		case len(pass.unreadable) > 0:
			return fmt.Errorf("cannot decrypt %d values, such as %s", len(pass.unreadable), pass.unreadable[0])
		case pass.stale == 0:
			return nil
		}
	}
}

// pass is one walk over the values.
type pass struct {
	encryption *Encryption
	stale      int
	unreadable []string // keys in the store
}

// rewrite rewrites the values of one resource.
func (p *pass) rewrite(ctx context.Context, resource string) error {
	client, prefix := p.encryption.client, "/registry/"+resource+"/"
	transformer := p.encryption.Transformer(schema.GroupResource{Resource: resource})
	if transformer == nil {
		return fmt.Errorf("cannot rewrite %s: this version does not encrypt them", resource)
	}
	next := ""
	for {
		page, err := client.Kubernetes.List(ctx, prefix, kubernetes.ListOptions{Limit: pageSize, Continue: next})
		if err != nil {
			return fmt.Errorf("cannot list %s in the store: %w", resource, err)
		}
		for _, kv := range page.Kvs {
			if err := p.rewriteOne(ctx, transformer, kv); err != nil {
				return err
			}
		}
		p.encryption.status.progress(resource, len(page.Kvs))
		if len(page.Kvs) == 0 || int64(len(page.Kvs)) >= page.Count {
			return nil
		}
		next = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

// rewriteOne rewrites one value unless it is right. A value that somebody else has
// written meanwhile is left to the next pass.
func (p *pass) rewriteOne(ctx context.Context, transformer value.Transformer, kv *mvccpb.KeyValue) error {
	where := value.DefaultContext(kv.Key)
	plain, stale, err := transformer.TransformFromStorage(ctx, kv.Value, where)
	if err != nil {
		p.unreadable = append(p.unreadable, string(kv.Key))
		return nil //nolint:nilerr // The others are rewritten all the same.
	}
	if !stale {
		return nil
	}
	p.stale++
	next, err := transformer.TransformToStorage(ctx, plain, where)
	if err != nil {
		return fmt.Errorf("cannot encrypt %s: %w", kv.Key, err)
	}
	response, err := p.encryption.client.Kubernetes.OptimisticPut(ctx, string(kv.Key), next, kv.ModRevision,
		kubernetes.PutOptions{GetOnFailure: true, LeaseID: etcd.LeaseID(kv.Lease)})
	if err != nil {
		return fmt.Errorf("cannot put %s into the store: %w", kv.Key, err)
	}
	if response.Succeeded {
		p.encryption.status.rewrote()
	}
	return nil
}
