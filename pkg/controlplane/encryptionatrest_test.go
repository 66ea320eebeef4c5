package controlplane

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	etcd "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/controlplane/encryption"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// peekStore lets a test look at what an API server has stored.
type peekStore struct {
	storage.Backend
	client *kubernetes.Client
}

func (p *peekStore) Start(ctx context.Context) (*kubernetes.Client, error) {
	client, err := p.Backend.Start(ctx)
	if client != nil {
		copied := *client
		p.client = &copied // the API server wraps parts of its own
	}
	return client, err
}

// fixedKeys is a source with one text.
type fixedKeys []byte

func (f fixedKeys) Load(context.Context, string, bool) ([]byte, error) { return f, nil }

// TestEncryptionAtRest switches the encryption on over a real API server, rotates the
// key, and switches it off.
func TestEncryptionAtRest(t *testing.T) {
	t.Parallel()
	const password = "correct horse battery staple"
	dir, bundle := t.TempDir(), newBundle(t)
	first, second := encryption.NewKeys(), bytes.Replace(encryption.NewKeys(), []byte("key1"), []byte("key2"), 1)
	for i, step := range []struct {
		reason, keys, prefix string
		enabled              bool
	}{
		{"nothing is encrypted by default", "", "k8s\x00", false},
		{"a new Secret is encrypted", string(first), "k8s:enc:secretbox:v1:key1:", true},
		{"a new key encrypts", string(second) + string(first), "k8s:enc:secretbox:v1:key2:", true},
		{"off, new Secrets are plain, and old ones are read", string(second) + string(first), "k8s\x00", false},
	} {
		awaitFree(t, dir) // launch does not see the store below this one.
		store := &peekStore{Backend: throwAway(dir)}
		p := startPlane(t, Config{Storage: store, PKI: bundle, Encryption: encryption.Options{
			Enabled: step.enabled, Resources: []string{"secrets"}, Secret: "keys", Keys: fixedKeys(step.keys), Replica: "shop-0",
		}})
		secrets := p.client.CoreV1().Secrets(metav1.NamespaceDefault)
		name := fmt.Sprint("secret-", i)
		if _, err := secrets.Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"password": password},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatalf("%s: %v", step.reason, err)
		}
		list, err := secrets.List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != i+1 {
			t.Fatalf("%s: got %d Secrets, %v", step.reason, len(list.Items), err)
		}
		for _, secret := range list.Items {
			if string(secret.Data["password"]) != password {
				t.Errorf("%s: %s reads as %q", step.reason, secret.Name, secret.Data)
			}
		}
		stored, err := store.client.KV.Get(t.Context(), "/registry/secrets/default/"+name)
		if err != nil || !strings.HasPrefix(string(stored.Kvs[0].Value), step.prefix) {
			t.Errorf("%s: stored as %.40q, %v", step.reason, stored.Kvs[0].Value, err)
		}
		if step.enabled && bytes.Contains(stored.Kvs[0].Value, []byte(password)) {
			t.Errorf("%s: the store has the value", step.reason)
		}
		if i == 1 {
			other, err := store.client.KV.Get(t.Context(), "/registry/configmaps/", etcd.WithPrefix(), etcd.WithLimit(1))
			if err != nil || !strings.HasPrefix(string(other.Kvs[0].Value), "k8s\x00") {
				t.Errorf("%s: ConfigMaps are not to be encrypted: %v, %v", step.reason, other, err)
			}
		}
		stopInTime(t, p)
	}
	awaitFree(t, dir)
	if err := runOnce(t, Config{Storage: throwAway(dir), PKI: bundle}); err == nil || !strings.Contains(err.Error(), "lacks their key") {
		t.Errorf("without keys the store must be refused: %v", err)
	}
}

// runOnce runs a control plane that is to fail.
func runOnce(t *testing.T, config Config) error {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config.Listener = listener
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return c.Run(ctx)
}
