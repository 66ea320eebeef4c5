package snapshot

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// shownKeys is the number of differing keys that a message names.
const shownKeys = 5

// DifferentError is returned for two contents that should be equal.
type DifferentError struct {
	// Missing, Changed and Added are keys that the second lacks, has with another
	// value, and has in addition.
	Missing, Changed, Added []string
}

func (e *DifferentError) Error() string {
	var parts []string
	for _, group := range []struct {
		name string
		keys []string
	}{{"missing", e.Missing}, {"changed", e.Changed}, {"added", e.Added}} {
		if len(group.keys) == 0 {
			continue
		}
		slices.Sort(group.keys)
		shown := group.keys[:min(len(group.keys), shownKeys)]
		parts = append(parts, fmt.Sprintf("%d %s (%s)", len(group.keys), group.name, strings.Join(shown, ", ")))
	}
	return "the stores differ in keys: " + strings.Join(parts, "; ")
}

// entrySource is anything with entries: a store at one revision, or a dump.
type entrySource interface {
	each(ctx context.Context, do func(page []*mvccpb.KeyValue) error) error
}

// hashedKey is one key of the first content.
type hashedKey struct {
	hash       [sha256.Size]byte
	isExpiring bool
}

// compare returns a *DifferentError if the second content is not that of the first.
// Keys with a lease may be missing in the second: they expire.
func compare(ctx context.Context, first, second entrySource) error {
	sum := newSummer()
	keys := map[string]hashedKey{} // key -> its hash
	err := first.each(ctx, func(page []*mvccpb.KeyValue) error {
		for _, kv := range page {
			keys[string(kv.Key)] = hashedKey{sum.hashOf(kv.Key, kv.Value), kv.Lease != 0}
		}
		return nil
	})
	if err != nil {
		return err
	}
	different := &DifferentError{}
	err = second.each(ctx, func(page []*mvccpb.KeyValue) error {
		for _, kv := range page {
			key := string(kv.Key)
			want, ok := keys[key]
			delete(keys, key)
			switch {
			case !ok:
				different.Added = append(different.Added, key)
			case want.hash != sum.hashOf(kv.Key, kv.Value) || want.isExpiring != (kv.Lease != 0):
				different.Changed = append(different.Changed, key)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for key, rest := range keys {
		if !rest.isExpiring {
			different.Missing = append(different.Missing, key)
		}
	}
	if len(different.Missing)+len(different.Changed)+len(different.Added) > 0 {
		return different
	}
	return nil
}
