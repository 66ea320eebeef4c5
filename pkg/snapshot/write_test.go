package snapshot

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sublet-dev/sublet/pkg/storage"
)

// TestBatches divides pages into transactions.
func TestBatches(t *testing.T) {
	t.Parallel()
	const large = batchBytes
	for _, c := range []struct {
		reason string
		sizes  []int // of the values in bytes
		keys   int
		want   []int // keys per transaction
	}{
		{"nothing", nil, 2, nil},
		{"one key each", []int{1, 1, 1}, 1, []int{1, 1, 1}},
		{"fewer than the limit", []int{1, 1}, 3, []int{2}},
		{"as many as the limit", []int{1, 1, 1}, 3, []int{3}},
		{"more than the limit", []int{1, 1, 1, 1}, 3, []int{3, 1}},
		{"large values", []int{1, large, 1, 1, large, large / 2, large / 4, large / 2}, 10, []int{1, 1, 2, 1, 2, 1}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			var page []storage.Entry
			for i, size := range c.sizes {
				page = append(page, storage.Entry{Key: []byte{byte('a' + i)}, Value: make([]byte, size)})
			}
			var got []int
			var all []storage.Entry
			for _, part := range batches(page, c.keys) {
				got, all = append(got, len(part)), append(all, part...)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("keys per transaction (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(page, all); diff != "" {
				t.Errorf("all keys (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSmallTransactions writes to an etcd that allows fewer writes in one transaction.
func TestSmallTransactions(t *testing.T) {
	t.Parallel()
	use(t, external(t), func(client *clientv3.Client) {
		var page []storage.Entry
		for i := range 500 {
			page = append(page, storage.Entry{Key: fmt.Appendf(nil, "%sa%03d", contentPrefix, i), Value: []byte("1")})
		}
		writes := newWriter(client, storage.Capabilities{TxnWrites: 1000})
		if err := writes.write(t.Context(), page); err != nil {
			t.Fatal(err)
		}
		got, err := client.Get(t.Context(), contentPrefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || got.Count != int64(len(page)) {
			t.Errorf("keys: got %v, %v, want %d", got, err, len(page))
		}
		if err := writes.write(t.Context(), page[400:]); !errors.Is(err, errConflict) {
			t.Errorf("keys that exist: got %v, want %v", err, errConflict)
		}
	})
}
