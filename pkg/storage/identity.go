package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/klog/v2"
)

const (
	// IdentityKey is the key of the Identity. Keys of Kubernetes are below /registry.
	IdentityKey = "/sublet/identity"
	// dataPrefix is the prefix of all keys.
	dataPrefix = "/"
	// healthKey is a key that even an unused store may have.
	healthKey = "/registry/health"
)

// Identity names the virtual cluster that a store belongs to.
type Identity struct {
	// Anchor is the UID of the anchor of the release.
	Anchor string `json:"anchor"`
	// Namespace and Name are the release, for messages.
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// ForeignStoreError reports that a store belongs to another virtual cluster, or to an unknown one.
type ForeignStoreError struct {
	// Found is the identity of the store. It is empty if the store has data and no
	// identity.
	Found Identity
	// Want is the identity of the virtual cluster that has opened the store.
	Want Identity
	// TakeOver is the command with which an operator takes the store over, empty if
	// there is none.
	TakeOver string
}

// Error returns to whom the store belongs, and how to take it over.
func (e *ForeignStoreError) Error() string {
	if e.Found.Anchor == "" {
		return "the store has data that no virtual cluster has written. Use an empty store, or another prefix or database"
	}
	message := fmt.Sprintf("the store belongs to virtual cluster %s/%s (anchor %s), not to %s/%s (anchor %s). "+
		"Use an empty store, or another prefix or database",
		e.Found.Namespace, e.Found.Name, e.Found.Anchor, e.Want.Namespace, e.Want.Name, e.Want.Anchor)
	if e.TakeOver != "" {
		message += ". To take it over once nobody else uses it: " + e.TakeOver
	}
	return message
}

// Owned is a Backend that only opens if the store belongs to the virtual cluster.
type Owned struct {
	Backend

	// Identity is the virtual cluster.
	Identity Identity

	// IsProven is true for a store on a volume of the virtual cluster, which proves the ownership.
	// The store then gets the identity in any case.
	IsProven bool

	// Accepted returns the UID of the anchor whose store the operator has accepted.
	// Default: none is accepted.
	Accepted func(ctx context.Context) string

	// TakeOver is the command with which an operator accepts a store, up to the UID of its
	// anchor. Default: messages name no command.
	TakeOver string

	// Waiter waits while the store is refused.
	Waiter Waiter
}

// Start opens the store and returns once it belongs to the virtual cluster. A new store gets the identity.
// While the store belongs to another one, it waits.
func (o *Owned) Start(ctx context.Context) (*kubernetes.Client, error) {
	client, err := o.Backend.Start(ctx)
	if err != nil {
		return nil, err
	}
	if err := o.Waiter.Retry(ctx, func(ctx context.Context) error { return o.claim(ctx, client) }); err != nil {
		return nil, err
	}
	return client, nil
}

// claim checks the identity of the store, and writes it into a new one. It returns a
// *ForeignStoreError for a store of another virtual cluster.
func (o *Owned) claim(ctx context.Context, client *kubernetes.Client) error {
	found, revision, err := readIdentity(ctx, client)
	if err != nil || revision > 0 && found.Anchor == o.Identity.Anchor {
		return err
	}
	if o.IsProven {
		if err := WriteIdentity(ctx, client, o.Identity, revision); err != nil {
			// A full store must start too.
			klog.ErrorS(err, "Store has no identity yet, retrying at the next start")
		}
		return nil
	}
	if err := o.mayTake(ctx, client, found, revision); err != nil {
		return err
	}
	if revision > 0 {
		klog.InfoS("Store of another virtual cluster taken over", "anchor", found.Anchor, "namespace", found.Namespace, "name", found.Name)
	}
	return WriteIdentity(ctx, client, o.Identity, revision)
}

// mayTake returns nil for an empty store and for one that the operator has accepted.
func (o *Owned) mayTake(ctx context.Context, client *kubernetes.Client, found Identity, revision int64) error {
	if revision > 0 {
		if o.Accepted != nil && o.Accepted(ctx) == found.Anchor {
			return nil
		}
		refusal := &ForeignStoreError{Found: found, Want: o.Identity}
		if o.TakeOver != "" {
			refusal.TakeOver = o.TakeOver + found.Anchor
		}
		return refusal
	}
	data, err := client.List(ctx, dataPrefix, kubernetes.ListOptions{Limit: 2})
	if err != nil {
		return fmt.Errorf("cannot list the keys of the store: %w", err)
	}
	for _, kv := range data.Kvs {
		if string(kv.Key) != healthKey {
			return &ForeignStoreError{Want: o.Identity}
		}
	}
	return nil
}

// readIdentity returns the identity and the revision of its key, which is 0 if the store
// has none.
func readIdentity(ctx context.Context, client *kubernetes.Client) (Identity, int64, error) {
	var identity Identity
	response, err := client.Get(ctx, IdentityKey, kubernetes.GetOptions{})
	if err != nil {
		return identity, 0, fmt.Errorf("cannot get the identity of the store: %w", err)
	}
	if response.KV == nil {
		return identity, 0, nil
	}
	if err := json.Unmarshal(response.KV.Value, &identity); err != nil || identity.Anchor == "" {
		return identity, 0, fmt.Errorf("cannot use key %s of the store: it names no anchor", IdentityKey)
	}
	return identity, response.KV.ModRevision, nil
}

// WriteIdentity writes the identity of a store whose key has the given revision, 0 for none. It fails if
// another process has written the key since. It also works in a store that denies creates.
func WriteIdentity(ctx context.Context, client *kubernetes.Client, identity Identity, revision int64) error {
	value, err := json.Marshal(identity)
	if err != nil {
		return fmt.Errorf("cannot encode the identity of the store: %w", err)
	}
	response, err := client.OptimisticPut(ctx, IdentityKey, value, revision, kubernetes.PutOptions{GetOnFailure: revision > 0})
	if err != nil {
		return fmt.Errorf("cannot write the identity of the store: %w", err)
	}
	if !response.Succeeded {
		return errors.New("cannot write the identity of the store: another process has written it")
	}
	return nil
}
