package encryption

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	etcd "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/storage"
)

// patience is how long a test waits for what should take milliseconds.
const patience = 3 * time.Minute

// secretText is what the tests store, and must not find again.
const secretText = "the tenant's password"

// hostSecrets are the Secrets of the host. They are made of names of keys: "b a" has b first.
type hostSecrets struct {
	mu      sync.Mutex
	secrets map[string]string // name -> text
}

func (h *hostSecrets) Load(_ context.Context, secret string, create bool) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text, found := h.secrets[secret]
	switch {
	case found:
		return []byte(text), nil
	case create:
		h.secrets[secret] = string(NewKeys())
		return []byte(h.secrets[secret]), nil
	}
	return nil, nil
}

func (h *hostSecrets) set(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.secrets["keys"] = text
}

// keyText returns the text of keys. The name of a key determines it; name! is another key
// of the same name.
func keyText(names string) string {
	var out strings.Builder
	for name := range strings.FieldsSeq(names) {
		seed := strings.Repeat(name, keySize)[:keySize]
		fmt.Fprintf(&out, "%s:%s\n", strings.TrimSuffix(name, "!"), encode(seed))
	}
	return out.String()
}

// world is a store and the host's Secrets, over several starts of replicas.
type world struct {
	t       *testing.T
	client  *kubernetes.Client
	secrets *hostSecrets
	clock   *clocktesting.FakeClock
}

func newWorld(t *testing.T) *world {
	t.Helper()
	store := storage.Embedded(t.TempDir())
	store.NoSync, store.Logger = true, zap.NewNop()
	client, err := store.Start(t.Context())
	t.Cleanup(store.Stop)
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, client: client, secrets: &hostSecrets{secrets: map[string]string{}},
		clock: clocktesting.NewFakeClock(time.Unix(1e9, 0)),
	}
}

// options returns the settings with Secrets encrypted.
func (w *world) options() Options {
	return Options{
		Enabled: true, Resources: []string{"secrets"}, Secret: "keys", Keys: w.secrets, Replica: "shop-0", Clock: w.clock,
	}
}

// open starts a replica.
func (w *world) open(options Options) *Encryption {
	w.t.Helper()
	e, err := Open(w.t.Context(), w.client, options)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// runLeader runs the leader's part until nothing is left to do.
func (w *world) runLeader(e *Encryption) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	defer w.passTime(ctx)()
	for {
		done, err := e.step(ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		if done {
			return
		}
		w.t.Fatalf("there is more to do: %v", e.Checks())
	}
}

// passTime moves the clock whenever somebody waits, until the returned function is called.
func (w *world) passTime(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if w.clock.HasWaiters() {
					w.clock.Step(historyAge)
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

// writeValue writes a value as a replica does.
func (w *world) writeValue(e *Encryption, resource, name string) {
	w.t.Helper()
	key := "/registry/" + resource + "/default/" + name
	stored, err := transformerOf(e, resource).TransformToStorage(w.t.Context(), []byte(secretText+" "+name), value.DefaultContext(key))
	if err == nil {
		_, err = w.client.KV.Put(w.t.Context(), key, string(stored))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// check reads all values of a resource as a replica does. Each must be stored with key,
// or plainly if that is empty.
func (w *world) check(e *Encryption, resource, key string, want int) {
	w.t.Helper()
	prefix := "/registry/" + resource + "/"
	response, err := w.client.KV.Get(w.t.Context(), prefix, etcd.WithPrefix())
	if err != nil {
		w.t.Fatal(err)
	}
	if len(response.Kvs) != want {
		w.t.Errorf("%d values of %s, want %d", len(response.Kvs), resource, want)
	}
	for _, kv := range response.Kvs {
		plain, _, err := transformerOf(e, resource).TransformFromStorage(w.t.Context(), kv.Value, value.DefaultContext(kv.Key))
		if err != nil || !strings.HasPrefix(string(plain), secretText) {
			w.t.Fatalf("%s reads as %q: %v", kv.Key, plain, err)
		}
		stored := string(kv.Value)
		if isPlain := strings.Contains(stored, secretText); isPlain != (key == "") ||
			!isPlain && !strings.HasPrefix(stored, secretboxPrefix+key+":") {
			w.t.Fatalf("%s is stored as %.60q, want it with key %q", kv.Key, stored, key)
		}
	}
}

func transformerOf(e *Encryption, resource string) value.Transformer {
	return e.Transformer(schema.GroupResource{Resource: resource})
}
