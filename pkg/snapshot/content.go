package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// contentPrefix is where the API server keeps its objects.
	contentPrefix = "/registry/"
	// healthKey is a key that SQL stores have of themselves.
	healthKey = contentPrefix + "health"

	// firstPage and maxPage are numbers of keys in one request, and pageBytes is the
	// size in bytes that the next page should have.
	firstPage = 500
	maxPage   = 2000
	pageBytes = 8 << 20
)

// errNoContent is the error of a store without objects.
var errNoContent = errors.New("the store has no objects")

// content is what a store holds at one revision.
type content struct {
	client   *clientv3.Client
	revision int64
}

// newestContent returns the content at the newest revision.
func newestContent(ctx context.Context, client *clientv3.Client) (*content, error) {
	got, err := client.Get(ctx, contentPrefix, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("cannot read the revision of the store: %w", err)
	}
	return &content{client, got.Header.Revision}, nil
}

// each calls do for each key, in pages at the same revision.
func (c *content) each(ctx context.Context, do func(page []*mvccpb.KeyValue) error) error {
	key, end := contentPrefix, clientv3.GetPrefixRangeEnd(contentPrefix)
	limit := int64(firstPage)
	for {
		got, err := c.client.Get(ctx, key, clientv3.WithRange(end), clientv3.WithLimit(limit), clientv3.WithRev(c.revision))
		if err != nil {
			return fmt.Errorf("cannot read keys from %s on at revision %d: %w", key, c.revision, err)
		}
		if err := do(withoutHealth(got.Kvs)); err != nil {
			return err
		}
		if !got.More || len(got.Kvs) == 0 {
			return nil
		}
		key = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
		limit = nextLimit(got.Kvs)
	}
}

// withoutHealth returns the keys that are content.
func withoutHealth(page []*mvccpb.KeyValue) []*mvccpb.KeyValue {
	return slices.DeleteFunc(slices.Clone(page), func(kv *mvccpb.KeyValue) bool { return string(kv.Key) == healthKey })
}

// nextLimit returns how many keys the next page should have, from the size of the
// last one.
func nextLimit(page []*mvccpb.KeyValue) int64 {
	bytes := 1
	for _, kv := range page {
		bytes += len(kv.Key) + len(kv.Value)
	}
	return int64(min(max(len(page)*pageBytes/bytes, 1), maxPage))
}

// digest reads all keys and returns their digest.
func (c *content) digest(ctx context.Context) (Digest, error) {
	sum := newSummer()
	err := c.each(ctx, func(page []*mvccpb.KeyValue) error {
		for _, kv := range page {
			sum.add(kv.Key, kv.Value, kv.Lease != 0)
		}
		return nil
	})
	return sum.digest(), err
}
