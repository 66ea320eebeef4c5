package encryption

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	etcd "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
)

func encode(secret string) string { return base64.StdEncoding.EncodeToString([]byte(secret)) }

// TestLife walks one store through all that an operator may do. Every step is a restart.
func TestLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const count = 2*pageSize + 50
	off := w.options()
	off.Enabled = false
	both := w.options()
	both.Resources = []string{"secrets", "configmaps"}

	e := w.open(off)
	for i := range count {
		w.writeValue(e, "secrets", fmt.Sprintf("s%03d", i))
	}
	w.writeValue(e, "configmaps", "c")
	for _, step := range []struct {
		reason              string
		keys                string
		options             Options
		secrets, configMaps string // key that they end with
	}{
		{"A store from before is rewritten.", "a", w.options(), "a", ""},
		{"A restart changes nothing.", "a", w.options(), "a", ""},
		{"A new first key encrypts everything.", "b a", w.options(), "b", ""},
		{"Then the old key may go.", "b", w.options(), "b", ""},
		{"One more resource.", "b", both, "b", "b"},
		{"One resource less is plain again.", "b", w.options(), "b", ""},
		{"Off, everything is.", "b", off, "", ""},
		{"Then no key is needed.", "", off, "", ""},
		{"On again, with a key of its own.", "c", both, "c", "c"},
	} {
		w.secrets.set(keyText(step.keys))
		e := w.open(step.options)
		w.runLeader(e)
		t.Log(step.reason)
		w.check(e, "secrets", step.secrets, count)
		w.check(e, "configmaps", step.configMaps, 1)
		if done, err := w.open(step.options).step(t.Context()); !done || err != nil {
			t.Errorf("%s: another start finds work: %v", step.reason, err)
		}
	}
}

// TestPurgeComesFirst ends a replica during the purge. The next one purges again, as the record
// does not say yet that all is done.
func TestPurgeComesFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.secrets.set(keyText("a"))
	options, purged := w.options(), 0
	ctx, kill := context.WithCancel(t.Context())
	options.Purge = func(context.Context) error {
		purged++
		kill()
		return nil
	}
	e := w.open(options)
	w.writeValue(e, "secrets", "one")
	stop := w.passTime(t.Context())
	done, err := e.step(ctx)
	stop()
	if done || err == nil || purged != 1 {
		t.Fatalf("a replica that is killed: done %t, %v, %d purges", done, err, purged)
	}
	w.runLeader(w.open(options))
	if purged != 2 {
		t.Errorf("%d purges, want one of each replica", purged)
	}
}

func TestGeneratedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.open(w.options())
	w.writeValue(e, "secrets", "one")
	w.check(w.open(w.options()), "secrets", "key1", 1)

	w.secrets.mu.Lock()
	delete(w.secrets.secrets, "keys")
	w.secrets.mu.Unlock()
	if _, err := Open(t.Context(), w.client, w.options()); err == nil || !strings.Contains(err.Error(), "key1 is not in it") {
		t.Errorf("a store without its key must be refused, and get no new one: %v", err)
	}
	if len(w.secrets.secrets) > 0 {
		t.Error("a new key would hide that the old one is missing")
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, text, want string
		off                bool
	}{
		{"the key is gone", keyText("b"), "a is not in it", false},
		{"the key is gone, and encryption is off", "", "there is none", true},
		{"the key is another one of that name", keyText("a!"), "a is another key there", false},
		{"not base64", "a:%%%\n", "line 1: key a must be 32 random bytes in base64", false},
		{"too short", "a:" + encode("short") + "\n", "key a must be 32 random bytes in base64", false},
		{"no name", encode("x") + "\n", "must be NAME:KEY", false},
		{"twice", keyText("a a"), "line 2: the name a is used twice", false},
		{"only a comment", "# none\n", "there is none", false},
	} {
		w := newWorld(t)
		w.secrets.set(keyText("a"))
		w.writeValue(w.open(w.options()), "secrets", "one")
		w.secrets.set(c.text)
		options := w.options()
		options.Enabled = !c.off
		_, err := Open(t.Context(), w.client, options)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want something with %q", c.reason, err, c.want)
			continue
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %v", c.reason, err)
		}
		for line := range strings.Lines(c.text) {
			if _, key, _ := strings.Cut(strings.TrimSpace(line), ":"); len(key) > 8 && strings.Contains(err.Error(), key) {
				t.Errorf("%s: the message has the key: %v", c.reason, err)
			}
		}
	}
}

// stoppingKV ends a context after some writes, as a crash at that point would.
type stoppingKV struct {
	kubernetes.Interface
	left int
	stop context.CancelFunc
}

func (s *stoppingKV) OptimisticPut(ctx context.Context, key string, value []byte, revision int64, opts kubernetes.PutOptions) (kubernetes.PutResponse, error) {
	if s.left--; s.left < 0 {
		s.stop()
		return kubernetes.PutResponse{}, errors.New("stopped")
	}
	return s.Interface.OptimisticPut(ctx, key, value, revision, opts)
}

// TestStoppedAnywhere stops a rewrite after each number of writes. Everything stays
// readable, and the next start completes it.
func TestStoppedAnywhere(t *testing.T) {
	t.Parallel()
	const count = 6
	for _, keys := range []struct{ from, to string }{{"", "a"}, {"a", "b a"}, {"a", ""}} {
		for stopped := range count {
			w := newWorld(t)
			w.secrets.set(keyText(keys.from + " " + keys.to))
			before, after := w.options(), w.options()
			before.Enabled, after.Enabled = keys.from != "", keys.to != ""
			if keys.from != "" {
				w.secrets.set(keyText(keys.from))
			}
			e := w.open(before)
			for i := range count {
				w.writeValue(e, "secrets", fmt.Sprintf("s%d", i))
			}
			if keys.to != "" {
				w.secrets.set(keyText(keys.to))
			}
			ctx, cancel := context.WithCancel(t.Context())
			broken := *w.client
			broken.Kubernetes = &stoppingKV{Interface: w.client.Kubernetes, left: stopped, stop: cancel}
			first, err := Open(ctx, &broken, after)
			if err != nil {
				t.Fatal(err)
			}
			if done, err := first.step(ctx); done || err == nil {
				t.Fatalf("from %q to %q: not stopped after %d writes", keys.from, keys.to, stopped)
			}
			second := w.open(after)
			for i := range count {
				w.writeValue(second, "secrets", fmt.Sprintf("t%d", i))
			}
			w.runLeader(second)
			key, _, _ := strings.Cut(keys.to, " ")
			w.check(second, "secrets", key, 2*count)
		}
	}
}

// TestReplicas rotates a key while another replica still writes with the old one.
func TestReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	replica := func(name string) Options {
		options := w.options()
		options.Replica = name
		options.Replicas = func() []string { return []string{"shop-0", "shop-1"} }
		return options
	}
	w.secrets.set(keyText("a"))
	old := w.open(replica("shop-0"))
	w.settleBoth(old, w.open(replica("shop-1")))

	w.secrets.set(keyText("b a"))
	next := w.open(replica("shop-1"))
	w.writeValue(next, "secrets", "new")
	w.writeValue(old, "secrets", "old")
	for range 2 {
		if done, err := next.step(t.Context()); done || err != nil {
			t.Fatalf("key a is still in use: done %t, %v", done, err)
		}
	}
	if !strings.Contains(next.Checks()[0].Message, "Waiting until all replicas write alike") {
		t.Errorf("got %v", next.Checks())
	}
	// A replica that started before the key was there reads what another one writes with it.
	got, err := w.client.KV.Get(t.Context(), "/registry/secrets/default/new")
	if err != nil {
		t.Fatal(err)
	}
	plain, _, err := transformerOf(old, "secrets").TransformFromStorage(t.Context(), got.Kvs[0].Value, value.DefaultContext(got.Kvs[0].Key))
	if err != nil || string(plain) != secretText+" new" {
		t.Errorf("got %q, %v", plain, err)
	}
	w.writeValue(old, "secrets", "old")
	w.settleBoth(w.open(replica("shop-0")), next)
	w.check(next, "secrets", "b", 2)

	// One replica less: what it wrote with does not matter any more.
	w.secrets.set(keyText("c b"))
	alone := w.open(w.options())
	w.runLeader(alone)
	w.check(alone, "secrets", "c", 2)
}

// settleBoth lets two replicas come to rest, the second one as the leader.
func (w *world) settleBoth(follower, leader *Encryption) {
	w.t.Helper()
	w.runLeader(leader)
	follower.Follow(w.t.Context())
	for _, e := range []*Encryption{follower, leader} {
		if message := e.Checks()[0].Message; message != "Values are encrypted. Only the first key is needed." {
			w.t.Errorf("got %q", message)
		}
	}
}

// TestUnderLoad rotates the key while clients change the same objects.
func TestUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const objects, writers = 40, 4
	w.secrets.set(keyText("a"))
	e := w.open(w.options())
	for i := range objects {
		w.writeValue(e, "secrets", fmt.Sprintf("s%d", i))
	}
	w.secrets.set(keyText("b a"))
	e = w.open(w.options())
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	counts := make([]int, writers)
	for writer := range writers {
		load.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if w.appendTo(e, fmt.Sprintf("/registry/secrets/default/s%d", (i*writers+writer)%objects)) {
					counts[writer]++
				}
			}
		})
	}
	w.runLeader(e)
	cancel()
	load.Wait()
	w.check(e, "secrets", "b", objects)
	want, got := 0, 0
	for _, count := range counts {
		want += count
	}
	response, err := w.client.KV.Get(t.Context(), "/registry/secrets/", etcd.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range response.Kvs {
		plain, _, err := transformerOf(e, "secrets").TransformFromStorage(t.Context(), kv.Value, value.DefaultContext(kv.Key))
		if err != nil {
			t.Fatal(err)
		}
		got += strings.Count(string(plain), "+")
	}
	if got != want || want == 0 {
		t.Errorf("%d of %d acknowledged writes are there", got, want)
	}
}

// appendTo changes a value as an API server does, and reports whether that succeeded.
func (w *world) appendTo(e *Encryption, key string) bool {
	ctx, where := context.WithoutCancel(w.t.Context()), value.DefaultContext(key)
	transformer := transformerOf(e, "secrets")
	got, err := w.client.Kubernetes.Get(ctx, key, kubernetes.GetOptions{})
	if err != nil {
		return false
	}
	plain, _, err := transformer.TransformFromStorage(ctx, got.KV.Value, where)
	if err != nil {
		return false
	}
	next, err := transformer.TransformToStorage(ctx, append(plain, '+'), where)
	if err != nil {
		return false
	}
	put, err := w.client.Kubernetes.OptimisticPut(ctx, key, next, got.KV.ModRevision, kubernetes.PutOptions{GetOnFailure: true})
	return err == nil && put.Succeeded
}

// TestUpstreamReads checks that a kube-apiserver with the same keys reads the values.
func TestUpstreamReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.secrets.set(keyText("b a"))
	e := w.open(w.options())
	where := value.DefaultContext("/registry/secrets/default/one")
	stored, err := transformerOf(e, "secrets").TransformToStorage(t.Context(), []byte(secretText), where)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	_, text, _ := strings.Cut(strings.TrimSpace(keyText("b")), ":")
	config := `
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox: {keys: [{name: b, secret: "` + text + `"}]}
`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	upstream, err := encryptionconfig.LoadEncryptionConfig(t.Context(), file, false, "test")
	if err != nil {
		t.Fatal(err)
	}
	plain, stale, err := upstream.Transformers[schema.GroupResource{Resource: "secrets"}].TransformFromStorage(t.Context(), stored, where)
	if err != nil || stale || string(plain) != secretText {
		t.Errorf("got %q, stale %t, %v", plain, stale, err)
	}
}

// TestUnencrypted checks what a virtual cluster without encryption does: it has no key,
// no record and no line on /syncz.
func TestUnencrypted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	options := w.options()
	options.Enabled, options.Keys = false, nil
	e := w.open(options)
	w.writeValue(e, "secrets", "one")
	w.check(e, "secrets", "", 1)
	e.Follow(t.Context())
	if done, err := e.step(t.Context()); !done || err != nil || len(e.Checks()) > 0 {
		t.Errorf("done %t, %v, %v", done, err, e.Checks())
	}
	if e.Transformer(schema.GroupResource{Resource: "pods"}) != nil {
		t.Error("pods are never encrypted")
	}
	got, err := w.client.KV.Get(t.Context(), recordKey)
	if err != nil || len(got.Kvs) > 0 {
		t.Errorf("got %v, %v", got, err)
	}
}
