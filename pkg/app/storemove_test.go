package app

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// movedAnchor is the UID of the anchor of the virtual cluster that moves.
const movedAnchor = "7c1b2f9e-0000-4000-8000-000000000001"

// commandPlace is a pod's files, with which commands are run.
type commandPlace struct{ dir, config string }

// newCommandPlace writes the settings and what the server knows of its host.
func newCommandPlace(t *testing.T, settings string) commandPlace {
	t.Helper()
	place := commandPlace{dir: t.TempDir(), config: filepath.Join(t.TempDir(), "config.yaml")}
	facts, err := json.Marshal(host.Facts{Anchor: metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "shop-anchor", UID: movedAnchor}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{filepath.Join(place.dir, "host.json"): facts, place.config: []byte(settings)} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return place
}

// run runs a command about the store and returns what it prints.
func (p commandPlace) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	command := storeCommand()
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetErr(&out)
	command.SetArgs(append(args, "--config", p.config, "--data-dir", p.dir, "--name", "shop", "--namespace", "tenant-shop"))
	err := command.ExecuteContext(t.Context())
	return out.String(), err
}

// fillStore writes objects into a store.
func fillStore(t *testing.T, backend storage.Backend, keys map[string]string) {
	t.Helper()
	client, err := backend.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Stop()
	for key, value := range keys {
		if _, err := client.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
}

// objectsToMove returns some objects.
func objectsToMove() map[string]string {
	keys := map[string]string{}
	for i := range 50 {
		keys[fmt.Sprintf("/registry/configmaps/default/c%d", i)] = fmt.Sprintf("value %d", i)
	}
	return keys
}

// step is a command, with a part of what it prints or of its error.
type step struct {
	reason    string
	args      string
	want, err string
}

func (p commandPlace) check(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		out, err := p.run(t, strings.Fields(s.args)...)
		if !strings.Contains(out, s.want) {
			t.Errorf("%s: %s: got output\n%s\nwant %q in it", s.reason, s.args, out, s.want)
		}
		if (err == nil) != (s.err == "") || err != nil && !strings.Contains(err.Error(), s.err) {
			t.Errorf("%s: %s: got error %v, want %q", s.reason, s.args, err, s.err)
		}
	}
}

// TestStoreMove moves a store on the volume there and back, by the commands.
func TestStoreMove(t *testing.T) {
	t.Parallel()
	empty := newCommandPlace(t, "{}")
	empty.check(t, []step{{"a source that is not there", "move --from database.embedded", "", "cannot open database.embedded: there is no"}})
	place := newCommandPlace(t, "{}")
	fillStore(t, storage.Embedded(filepath.Join(place.dir, host.StoreDir)), objectsToMove())
	const (
		there = "--from etcd.embedded --to database.embedded"
		back  = "--from database.embedded --to etcd.embedded"
	)
	place.check(t, []step{
		{"no source", "move", "", "--from must name the store of the virtual cluster"},
		{"no such store", "move --from etcd", "", `cannot use store "etcd": it must be etcd.embedded or one of`},
		{"no address", "move --from etcd.embedded --to etcd.external", "", "its address must be in controlPlane.backingStore.etcd.external"},
		{"twice the same", "move --from etcd.embedded --to etcd.embedded", "", "--from and --to are both etcd.embedded"},
		{"a target with objects", "move " + back, "", "cannot move to etcd.embedded: it is not empty"},
		{"a move", "move " + there, "Moved from etcd.embedded to database.embedded", ""},
		{"equal stores", "verify " + there, "Equal: 50 keys", ""},
		{"the same move again", "move " + there, "Nothing to do", ""},
		{"a move back", "move " + back, "Moved from database.embedded to etcd.embedded", ""},
		{"equal stores again", "verify " + back, "Equal: 50 keys", ""},
		{"a file and stores", "verify x.dump " + back, "", "leave out --from and --to, or the file"},
	})
	running := storage.Embedded(filepath.Join(place.dir, host.StoreDir))
	fillStoreWhile(t, running, func() {
		place.check(t, []step{{
			"a store that is open", "move " + there, "",
			"kubectl -n tenant-shop scale statefulset shop --replicas=0, or set controlPlane.backingStore.moveFrom to move when it starts",
		}})
	})
}

// fillStoreWhile calls do while a store is open, in which one object differs from before.
func fillStoreWhile(t *testing.T, backend storage.Backend, do func()) {
	t.Helper()
	client, err := backend.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Stop()
	if _, err := client.Put(t.Context(), "/registry/configmaps/default/c1", "changed"); err != nil {
		t.Fatal(err)
	}
	do()
}

// TestStoreMoveFromShared moves from an etcd outside of the process, whose leader has to be
// stopped first.
func TestStoreMoveFromShared(t *testing.T) {
	t.Parallel()
	endpoint := startEtcd(t)
	place := newCommandPlace(t, fmt.Sprintf(
		"controlPlane: {backingStore: {moveFrom: {etcd: {external: {enabled: true, endpoint: %q, keyPrefix: /shop/}}}}}", endpoint))
	keys := objectsToMove()
	keys[storage.IdentityKey] = fmt.Sprintf(`{"anchor":%q}`, movedAnchor)
	keys[leaderLeaseKey] = newLeaderLease(t, time.Now(), time.Hour)
	newSource := func() *storage.External { return &storage.External{Endpoints: []string{endpoint}, Prefix: "/shop/"} }
	fillStore(t, newSource(), keys)
	place.check(t, []step{{"a leader", "move", "", "the control plane runs: shop-0 leads in etcd.external at " + endpoint}})
	fillStore(t, newSource(), map[string]string{leaderLeaseKey: newLeaderLease(t, time.Now().Add(-time.Minute), time.Second)})
	place.check(t, []step{
		{"a leader that is gone", "move", "Moved from etcd.external", ""},
		{"equal stores", "verify", "Equal: 51 keys", ""},
	})
	fillStore(t, newSource(), map[string]string{"/registry/configmaps/default/c1": "changed"})
	place.check(t, []step{{"a key that differs", "verify", "", "1 changed (/registry/configmaps/default/c1)"}})
}

// newLeaderLease returns the lease of a leader as a store has it.
func newLeaderLease(t *testing.T, renewed time.Time, lasts time.Duration) string {
	t.Helper()
	holder, seconds, at := "shop-0", int32(lasts.Seconds()), metav1.NewMicroTime(renewed)
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: leaderLease},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &at},
	}
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		t.Fatal("there is no codec for protobuf")
	}
	value, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, coordinationv1.SchemeGroupVersion), lease)
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

// startEtcd starts an etcd and returns its endpoint.
func startEtcd(t *testing.T) string {
	t.Helper()
	config := embed.NewConfig()
	config.Dir, config.Logger, config.LogLevel, config.UnsafeNoFsync = t.TempDir(), "zap", "fatal", true
	local := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	config.ListenClientUrls, config.ListenPeerUrls = []url.URL{local}, []url.URL{local}
	server, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatalf("cannot start etcd: %v", err)
	}
	t.Cleanup(server.Close)
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(time.Minute):
		t.Fatal("etcd did not start")
	}
	return "http://" + server.Clients[0].Addr().String()
}

// waitingClock is a clock on which each wait ends at once.
type waitingClock struct {
	*clocktesting.FakeClock

	meanwhile func()
}

func (c waitingClock) After(d time.Duration) <-chan time.Time {
	c.meanwhile()
	after := c.FakeClock.After(d)
	c.Step(d)
	return after
}

// TestFindLeader reads leases that do not elect a leader, and those of leaders whose clocks are wrong.
func TestFindLeader(t *testing.T) {
	t.Parallel()
	const lasts = 15 * time.Second
	now := time.Now()
	backend := storage.Embedded(t.TempDir())
	client, err := backend.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Stop()
	for _, c := range []struct{ reason, value, renewal, want, err string }{
		{reason: "no lease"},
		{reason: "a lease that was renewed", value: newLeaderLease(t, now, lasts), want: "shop-0"},
		{reason: "a lease of a clock that is ahead", value: newLeaderLease(t, now.Add(time.Hour), lasts), want: "shop-0"},
		{reason: "a lease that has ended", value: newLeaderLease(t, now.Add(-time.Hour), lasts)},
		{
			reason: "a lease of a clock that is behind, which is renewed", value: newLeaderLease(t, now.Add(-time.Hour), lasts),
			renewal: newLeaderLease(t, now.Add(-time.Hour+time.Second), lasts), want: "shop-0",
		},
		{reason: "a value that is none", value: "x", err: "cannot read key"},
	} {
		putValue := func(value string) {
			if value == "" {
				return
			}
			if _, err := client.Put(t.Context(), leaderLeaseKey, value); err != nil {
				t.Error(err)
			}
		}
		putValue(c.value)
		waits := waitingClock{clocktesting.NewFakeClock(now), func() { putValue(c.renewal) }}
		got, err := findLeader(t.Context(), client.Client, waits)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: got %q, %v, want %q, %q", c.reason, got, err, c.want, c.err)
		}
	}
}
