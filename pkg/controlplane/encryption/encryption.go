// Package encryption encrypts what the API server stores, and rewrites what is stored
// when the keys change.
//
// The values have the format of upstream's secretbox provider. A kube-apiserver with the
// same keys in its EncryptionConfiguration reads them. Secretbox authenticates what it
// encrypts and has random nonces of 24 bytes. So the number of writes under one key is
// no concern, as it is with AES-GCM; AES-CBC does not authenticate.
//
// A record in the store names the keys that values may be encrypted with. It is written
// before the first value is. A start without one of these keys is refused. Every replica
// records which key it writes with. Once nobody writes with a key, the leader rewrites all
// values and waits for the end of old revisions. Then it drops the key from the record.
//
// The record proves nothing against somebody who can write to the store. Values are not
// bound to the name of their object: such a person can exchange two of them.
package encryption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"
	plaintext "k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"
	"k8s.io/utils/clock"
)

const (
	// encryptedPrefix begins every encrypted value, of any provider.
	encryptedPrefix = "k8s:enc:"
	// secretboxPrefix begins a value of the secretbox provider. The name of the key and a
	// colon follow.
	secretboxPrefix = encryptedPrefix + "secretbox:v1:"
	// reloadPause is the shortest time between two looks for keys that a value needs.
	reloadPause = 5 * time.Second
)

// KeySource reads the keys of a virtual cluster.
type KeySource interface {
	// Load returns the text of the keys in a Secret of the host, and nil if there is no
	// such Secret. With create it creates the Secret if it may. It waits for a host that
	// does not respond.
	Load(ctx context.Context, secret string, create bool) ([]byte, error)
}

// Options are the settings of the encryption.
type Options struct {
	// Enabled encrypts what is written. If false, values that are encrypted from before
	// are read and rewritten as plain ones.
	Enabled bool
	// Resources are the resources to encrypt. Others are rewritten as plain ones.
	Resources []string
	// Secret is the host Secret that has the keys.
	Secret string
	// Keys reads the Secret. Default: there are no keys, and nothing can be encrypted.
	Keys KeySource
	// Replica is the name of this replica.
	Replica string
	// Replicas returns the names of all replicas. Default: this one alone.
	Replicas func() []string
	// Purge removes what the store has of replaced values. Default: nothing does.
	Purge func(ctx context.Context) error
	// Clock is the time. Default: the real one.
	Clock clock.Clock
}

// Supported returns the resources that can be encrypted, as part of the core group.
func Supported() []string { return []string{"secrets", "configmaps"} }

// Encryption encrypts and decrypts the values of one store.
type Encryption struct {
	options Options
	client  *kubernetes.Client
	keys    atomic.Pointer[keyring]
	status  status

	reloading  sync.Mutex
	lastReload time.Time
}

// keyring has the keys of a replica, and the transformers made of them.
type keyring struct {
	keys []Key // the first encrypts, if encryption is on
	// encrypting and plain read the same. They write encrypted and plain values.
	encrypting, plain value.Transformer
}

// newKeyring returns a keyring that reads plain values and those of any of the keys.
func newKeyring(keys []Key) *keyring {
	identity := value.PrefixTransformer{Prefix: []byte{}, Transformer: plaintext.NewEncryptCheckTransformer()}
	var boxes []value.PrefixTransformer
	for _, key := range keys {
		boxes = append(boxes, value.PrefixTransformer{
			Prefix: []byte(secretboxPrefix + key.Name + ":"), Transformer: secretbox.NewSecretboxTransformer(key.secret),
		})
	}
	return &keyring{
		keys:       keys,
		encrypting: value.NewPrefixTransformers(errNoKey, append(slices.Clone(boxes), identity)...),
		plain:      value.NewPrefixTransformers(errNoKey, append([]value.PrefixTransformer{identity}, boxes...)...),
	}
}

var errNoKey = errors.New("the value is encrypted with a key that this replica does not have")

// Open reads which keys the store needs, loads them, and records what this replica will
// write with. A store that needs a key which is not there is refused.
func Open(ctx context.Context, client *kubernetes.Client, options Options) (*Encryption, error) {
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.Replicas == nil {
		options.Replicas = func() []string { return []string{options.Replica} }
	}
	e := &Encryption{options: options, client: client}
	e.keys.Store(newKeyring(nil))
	stored, err := e.readRecord(ctx)
	if err != nil {
		return nil, err
	}
	if !options.Enabled && stored.isEmpty() {
		e.status.set(stateOff)
		return e, nil
	}
	if err := e.loadKeys(ctx, stored); err != nil {
		return nil, err
	}
	written, err := e.updateRecord(ctx, e.announce)
	if err != nil {
		return nil, fmt.Errorf("cannot record the keys in the store: %w", err)
	}
	// Another replica may have recorded a key in the meantime.
	if err := written.check(e.keys.Load().keys, e.options.Secret); err != nil {
		return nil, err
	}
	e.status.set(stateWaiting)
	return e, nil
}

// loadKeys loads the keys that the store and the settings need.
func (e *Encryption) loadKeys(ctx context.Context, stored record) error {
	if !e.options.Enabled {
		e.options.Secret = stored.Secret
	}
	keys, err := e.readKeys(ctx, e.options.Secret, e.options.Enabled && len(stored.Keys) == 0)
	if err != nil {
		return err
	}
	if err := stored.check(keys, e.options.Secret); err != nil {
		return err
	}
	if e.options.Enabled && len(keys) == 0 {
		return fmt.Errorf("cannot encrypt: host Secret %s does not exist, which controlPlane.advanced.encryption.keySecret names; "+
			"create it, or leave the setting empty for a generated key", e.options.Secret)
	}
	e.keys.Store(newKeyring(keys))
	return nil
}

// onlyExisting makes readKeys create nothing.
const onlyExisting = false

// readKeys returns the keys in a Secret of the host, none if it does not exist.
func (e *Encryption) readKeys(ctx context.Context, secret string, create bool) ([]Key, error) {
	if e.options.Keys == nil {
		return nil, nil
	}
	text, err := e.options.Keys.Load(ctx, secret, create)
	if err != nil {
		return nil, err
	}
	if text == nil {
		return nil, nil
	}
	keys, err := ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("cannot use the keys in host Secret %s: %w", secret, err)
	}
	return keys, nil
}

// current returns the key that this replica writes with, nil if it writes plain values.
func (e *Encryption) current() *Key {
	if keys := e.keys.Load().keys; e.options.Enabled && len(keys) > 0 {
		return &keys[0]
	}
	return nil
}

// Transformer returns the transformer of a resource, nil for those that are never
// encrypted.
func (e *Encryption) Transformer(resource schema.GroupResource) value.Transformer {
	if resource.Group != "" || !slices.Contains(Supported(), resource.Resource) {
		return nil
	}
	return &transformer{encryption: e, resource: resource.Resource}
}

// transformer reads and writes the values of one resource.
type transformer struct {
	encryption *Encryption
	resource   string
}

func (t *transformer) current() value.Transformer {
	e := t.encryption
	ring := e.keys.Load()
	if e.options.Enabled && slices.Contains(e.options.Resources, t.resource) {
		return ring.encrypting
	}
	return ring.plain
}

// TransformFromStorage decrypts a value. Another replica may write with a key that this
// one has not loaded, so it looks for further keys before it fails.
func (t *transformer) TransformFromStorage(ctx context.Context, data []byte, context value.Context) ([]byte, bool, error) {
	out, stale, err := t.current().TransformFromStorage(ctx, data, context)
	if err == nil || !bytes.HasPrefix(data, []byte(encryptedPrefix)) || !t.encryption.reload(ctx) {
		return out, stale, err
	}
	return t.current().TransformFromStorage(ctx, data, context)
}

// TransformToStorage encrypts a value.
func (t *transformer) TransformToStorage(ctx context.Context, data []byte, context value.Context) ([]byte, error) {
	return t.current().TransformToStorage(ctx, data, context)
}

// reload adds keys that were not there at the start, to read with. It reports whether it
// has found some. This replica still writes with the key that it has recorded.
func (e *Encryption) reload(ctx context.Context) bool {
	before := e.keys.Load()
	e.reloading.Lock()
	defer e.reloading.Unlock()
	ring := e.keys.Load()
	if ring != before {
		return true // while this one waited
	}
	now := e.options.Clock.Now()
	if now.Sub(e.lastReload) < reloadPause {
		return false
	}
	e.lastReload = now
	stored, err := e.readRecord(ctx)
	if err != nil || stored.isEmpty() {
		return false
	}
	found, err := e.readKeys(ctx, stored.Secret, onlyExisting)
	if err != nil {
		return false
	}
	keys := slices.Clone(ring.keys)
	for _, key := range found {
		if !slices.ContainsFunc(keys, key.equals) {
			keys = append(keys, key)
		}
	}
	if len(keys) == len(ring.keys) {
		return false
	}
	e.keys.Store(newKeyring(keys))
	return true
}
