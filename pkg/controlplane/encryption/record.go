package encryption

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	etcd "go.etcd.io/etcd/client/v3"
)

// recordKey is the key of the record in the store. It is next to the objects, and not below
// /sublet/: whatever copies the objects of a store must copy the record with them. No
// resource has this key: keys of a custom resource have more after its name.
const recordKey = "/registry/sublet.dev/encryption"

// record is what the store knows about its own encryption. An empty one means that no
// value is encrypted.
type record struct {
	// Secret is the host Secret that has the keys.
	Secret string `json:"keysIn,omitempty"`
	// Keys are the keys that values may be encrypted with.
	Keys []keyRef `json:"keys,omitempty"`
	// Resources are those that may have encrypted values.
	Resources []string `json:"resources,omitempty"`
	// Writers has the key that each replica writes with, and nil for plain values.
	Writers map[string]*keyRef `json:"writers,omitempty"`
	// Rewritten is true if all values of Resources are encrypted with the only key.
	Rewritten bool `json:"rewritten,omitempty"`

	revision int64
}

func (r *record) isEmpty() bool { return len(r.Keys) == 0 }

// check returns why the keys do not suffice for the values in the store.
func (r *record) check(keys []Key, secret string) error {
	var missing []string
	for _, needed := range r.Keys {
		same := func(key Key) bool { return key.Name == needed.Name }
		at := slices.IndexFunc(keys, same)
		switch {
		case at < 0:
			missing = append(missing, needed.Name+" is not in it")
		case keys[at].ref() != needed:
			missing = append(missing, needed.Name+" is another key there")
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("the store has encrypted values, and host Secret %s lacks their key: %s; restore the Secret from a backup",
		secret, strings.Join(missing, ", "))
}

// readRecord reads the record.
func (e *Encryption) readRecord(ctx context.Context) (record, error) {
	response, err := e.client.KV.Get(ctx, recordKey)
	if err != nil {
		return record{}, fmt.Errorf("cannot get %s from the store: %w", recordKey, err)
	}
	if len(response.Kvs) == 0 {
		return record{}, nil
	}
	stored := record{revision: response.Kvs[0].ModRevision}
	if err := json.Unmarshal(response.Kvs[0].Value, &stored); err != nil {
		return record{}, fmt.Errorf("cannot read %s in the store: %w", recordKey, err)
	}
	return stored, nil
}

// updateRecord changes the record until nobody else has changed it meanwhile. change
// returns false to leave it as it is.
func (e *Encryption) updateRecord(ctx context.Context, change func(*record) bool) (record, error) {
	for {
		stored, err := e.readRecord(ctx)
		if err != nil {
			return stored, err
		}
		if !change(&stored) {
			return stored, nil
		}
		content, err := json.Marshal(stored) //nolint:gosec // Secret is a name
		if err != nil {
			return stored, fmt.Errorf("cannot encode %s: %w", recordKey, err)
		}
		// These two forms are those that every kind of store knows.
		txn := e.client.KV.Txn(ctx).If(etcd.Compare(etcd.ModRevision(recordKey), "=", stored.revision)).
			Then(etcd.OpPut(recordKey, string(content)))
		if stored.revision > 0 {
			txn = txn.Else(etcd.OpGet(recordKey))
		}
		response, err := txn.Commit()
		if err != nil {
			return stored, fmt.Errorf("cannot put %s into the store: %w", recordKey, err)
		}
		if response.Succeeded {
			return stored, nil
		}
	}
}

// announce adds to the record what this replica may write.
func (e *Encryption) announce(r *record) bool {
	r.Rewritten = e.current() != nil && e.isSettled(r)
	if r.Writers == nil {
		r.Writers = map[string]*keyRef{}
	}
	r.Writers[e.options.Replica] = nil
	if r.Secret == "" || e.options.Enabled {
		r.Secret = e.options.Secret
	}
	key := e.current()
	if key == nil {
		return true
	}
	ref := key.ref()
	r.Writers[e.options.Replica] = &ref
	if !slices.Contains(r.Keys, ref) {
		r.Keys = append(r.Keys, ref)
	}
	for _, resource := range e.options.Resources {
		if !slices.Contains(r.Resources, resource) {
			r.Resources = append(r.Resources, resource)
		}
	}
	return true
}

// reduceToOwn reduces the record to what this replica writes. It returns false, and changes
// nothing, if another replica writes otherwise.
func (e *Encryption) reduceToOwn(r *record) bool {
	if !e.agrees(r) {
		return false
	}
	r.Keys, r.Resources, r.Secret, r.Rewritten = nil, nil, "", false
	names := e.options.Replicas()
	for name := range r.Writers {
		if !slices.Contains(names, name) {
			delete(r.Writers, name)
		}
	}
	if key := e.current(); key != nil {
		r.Keys, r.Resources, r.Secret = []keyRef{key.ref()}, slices.Clone(e.options.Resources), e.options.Secret
		r.Rewritten = true
	}
	return true
}

// agrees reports whether all replicas write with the key of this one.
func (e *Encryption) agrees(r *record) bool {
	for _, name := range e.options.Replicas() {
		writer, found := r.Writers[name]
		key := e.current()
		switch {
		case !found, (writer == nil) != (key == nil):
			return false
		case key != nil && *writer != key.ref():
			return false
		}
	}
	return true
}

// isSettled reports whether the record has nothing that this replica does not write.
func (e *Encryption) isSettled(r *record) bool {
	key := e.current()
	if key == nil {
		return r.isEmpty()
	}
	return r.Rewritten && len(r.Keys) == 1 && r.Keys[0] == key.ref() && isSameSet(r.Resources, e.options.Resources)
}

func isSameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
