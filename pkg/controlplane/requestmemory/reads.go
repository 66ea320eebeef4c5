package requestmemory

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// Reads returns a storage that reads from the store what is added to the account of a request. Other reads come from
// a watch cache. It is for custom resources, because their handler copies each object that a cache has. The store
// returns what is not older than the cache has it.
func Reads(cached, store storage.Interface) storage.Interface { return countedReads{cached, store} }

// countedReads is the storage of [Reads].
type countedReads struct {
	storage.Interface // with the watch cache
	store             storage.Interface
}

// Get reads an object.
func (s countedReads) Get(ctx context.Context, key string, opts storage.GetOptions, object runtime.Object) error {
	return s.storeOf(ctx).Get(ctx, key, opts, object)
}

// GetList reads a list.
func (s countedReads) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	return s.storeOf(ctx).GetList(ctx, key, opts, list)
}

// storeOf returns where a request reads from.
func (s countedReads) storeOf(ctx context.Context) storage.Interface {
	if accountOf(ctx) == nil {
		return s.Interface
	}
	return s.store
}
