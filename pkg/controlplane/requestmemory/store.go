package requestmemory

import (
	"context"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// readFactor is how many times the size of a stored value a request needs in memory: for the value and the
	// decoded object.
	readFactor = 2
	// jsonFactor is how many times that custom resources need, which are stored as JSON.
	jsonFactor = 4

	// firstPage is the number of keys that a list reads first. maxGrowth is how many times as many it reads next.
	// The size of later pages follows from the size of the objects.
	firstPage = 32
	maxGrowth = 4
	// pageBytes is how many bytes a later page should have.
	pageBytes = 4 << 20
)

// Store returns a store whose reads are added to the account of the request. Reads without an account are not
// bounded. It reads lists in pages, because it knows their size only afterwards.
func Store(store clientv3.KV) clientv3.KV { return boundedReads{store} }

// boundedReads is the store of [Store].
type boundedReads struct{ clientv3.KV }

// Get reads keys. It waits if the budget does not allow it now.
func (r boundedReads) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	account := accountOf(ctx)
	op := clientv3.OpGet(key, opts...)
	switch {
	case account == nil, op.IsCountOnly(), op.IsKeysOnly():
		return r.KV.Get(ctx, key, opts...)
	case len(op.RangeBytes()) == 0:
		return r.getOne(ctx, account, key, opts)
	}
	if stream := account.stream; stream != nil {
		return r.getPageOfWatch(ctx, stream, key, op.Limit(), opts)
	}
	return r.getPages(ctx, account, key, op, opts)
}

// getOne reads a single key.
func (r boundedReads) getOne(ctx context.Context, account *Account, key string, opts []clientv3.OpOption) (*clientv3.GetResponse, error) {
	response, _, err := r.fetch(ctx, account, 1, account.aboveLargest, func() (*clientv3.GetResponse, error) { return r.KV.Get(ctx, key, opts...) })
	if err == nil {
		account.setLargest(weigh(response.Kvs))
	}
	return response, err
}

// getPages reads a range page by page, all at the revision of the first one. The response is the same as that of
// one read.
func (r boundedReads) getPages(ctx context.Context, account *Account, key string, op clientv3.Op, opts []clientv3.OpOption) (*clientv3.GetResponse, error) {
	var whole *clientv3.GetResponse
	next, left, revision := int64(firstPage), op.Limit(), op.Rev()
	for {
		if left > 0 {
			next = min(next, left)
		}
		page, size, err := r.getPage(ctx, account, key, next, revision, opts)
		if err != nil {
			return nil, err
		}
		if whole == nil {
			whole, revision = page, page.Header.Revision
			if op.Rev() > 0 {
				revision = op.Rev()
			}
		} else {
			whole.Kvs, whole.More = append(whole.Kvs, page.Kvs...), page.More
		}
		if !page.More || len(page.Kvs) == 0 || left == next {
			return whole, nil
		}
		if left > 0 {
			left -= next
		}
		key = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
		next = nextPage(next, size/int64(len(page.Kvs)))
	}
}

// nextPage returns the size of the page that follows one of last keys, which took average bytes each.
func nextPage(last, average int64) int64 {
	return min(max(readFactor*pageBytes/max(average, 1), firstPage), last*maxGrowth, maxFetchedKeys)
}

// getPageOfWatch reads a page of the objects that exist when a watch begins.
func (r boundedReads) getPageOfWatch(ctx context.Context, stream *stream, key string, limit int64, opts []clientv3.OpOption) (*clientv3.GetResponse, error) {
	page := int64(firstPage)
	if limit > 0 {
		page = min(page, limit)
	}
	response, _, err := r.getPage(ctx, stream.account, key, page, 0, opts)
	if err == nil {
		for _, kv := range response.Kvs {
			stream.push(kv.ModRevision, weighOne(kv))
		}
	}
	return response, err
}

// getPage reads up to limit keys at a revision, 0 for the one in opts. It returns what the page counts as.
func (r boundedReads) getPage(ctx context.Context, account *Account, key string, limit, revision int64, opts []clientv3.OpOption) (*clientv3.GetResponse, int64, error) {
	page := slices.Concat(opts, []clientv3.OpOption{clientv3.WithLimit(limit)})
	if revision > 0 {
		page = append(page, clientv3.WithRev(revision))
	}
	whole := func(size int64) int64 { return size }
	return r.fetch(ctx, account, limit, whole, func() (*clientv3.GetResponse, error) { return r.KV.Get(ctx, key, page...) })
}

// fetch reads up to that many keys and adds them to the account. more returns what a result of some size adds. If
// the budget does not allow that, it drops the result, waits, and reads again. So waiting takes no memory.
func (r boundedReads) fetch(ctx context.Context, account *Account, keys int64, more func(size int64) int64, get func() (*clientv3.GetResponse, error)) (*clientv3.GetResponse, int64, error) {
	var added int64
	for {
		response, size, err := r.tryFetch(ctx, account, keys, func(size int64) int64 { return more(size) - added }, get)
		if err == nil && response == nil {
			missing := more(size) - added
			if err = account.add(ctx, missing); err == nil {
				added += missing
				continue
			}
		}
		if err != nil {
			account.returnBytes(added)
		}
		return response, size, err
	}
}

// tryFetch reads keys and adds what is missing to the account. It returns their size without a response if the
// budget does not allow that.
func (boundedReads) tryFetch(ctx context.Context, account *Account, keys int64, missing func(size int64) int64, get func() (*clientv3.GetResponse, error)) (*clientv3.GetResponse, int64, error) {
	if err := account.budget.fetching.Acquire(ctx, keys); err != nil {
		return nil, 0, err
	}
	defer account.budget.fetching.Release(keys)
	response, err := get()
	if err != nil {
		return nil, 0, err
	}
	size := weigh(response.Kvs)
	change := missing(size)
	if change > 0 && !account.tryAdd(change) {
		return nil, size, nil
	}
	account.returnBytes(max(-change, 0)) // An object is smaller than at the first attempt.
	return response, size, nil
}

// weigh returns what values count as.
func weigh(kvs []*mvccpb.KeyValue) int64 {
	var size int64
	for _, kv := range kvs {
		size += weighOne(kv)
	}
	return size
}

// weighOne returns what a value counts as.
func weighOne(kv *mvccpb.KeyValue) int64 {
	if kv == nil {
		return 0
	}
	size := readFactor * int64(len(kv.Value))
	if len(kv.Value) > 0 && kv.Value[0] == '{' {
		size *= jsonFactor
	}
	return size
}
