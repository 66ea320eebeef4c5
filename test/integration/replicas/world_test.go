package replicas

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/hostlab/sim"
	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
	"github.com/sublet-dev/sublet/test/await"
	"github.com/sublet-dev/sublet/test/ports"
)

// patience is how long a test waits for what takes seconds.
const patience = await.Limit

// requestTimeout is how long one request may take.
const requestTimeout = 3 * time.Second

// world is a virtual cluster of one or several replicas and its host.
type world struct {
	host    *sim.Host
	release *tenant.Release
	fleet   *tenant.Fleet
	ways    *ways
	// replicas is the number of pods.
	replicas int
	next     atomic.Uint64
}

// setup is what a virtual cluster consists of.
type setup struct {
	// name is that of the release and of its namespace. Default: shop.
	name string
	// values are those of the chart.
	values map[string]any
	// prepare makes on the host what the release needs, in its namespace. May be nil.
	prepare func(*testing.T, *sim.Host, string)
	// replicas is the number of pods.
	replicas int
	options  tenant.FleetOptions
	// server is the binary of the server. Default: that of the test.
	server string
}

// newWorld starts a host and a virtual cluster on it, and waits until all replicas are
// ready.
func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	host, err := sim.Start(ctx, sim.Options{Nodes: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Stop)
	w := &world{host: host, ways: newWays(), replicas: s.replicas}
	w.open(ctx, t, s)
	return w
}

// open installs the release and starts its pods.
func (w *world) open(ctx context.Context, t *testing.T, s setup) {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	namespace := cmp.Or(s.name, "shop")
	if s.prepare != nil {
		s.prepare(t, w.host, namespace)
	}
	w.release, err = tenant.Install(ctx, w.host, tenant.Options{
		Chart: filepath.Join("..", "..", "..", "chart"), Server: cmp.Or(s.server, own), Release: namespace, Namespace: namespace, Values: s.values,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.options.Arguments == nil {
		s.options.Arguments = memberAddresses(t, namespace)
	}
	s.options.Dir = t.TempDir()
	s.options.Via = func(pod string) tenant.Host { return w.ways.via(t, w.host, pod) }
	if w.fleet, err = w.release.RunFleet(ctx, s.options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			w.logTails(t, s.options.Dir)
		}
		w.fleet.Stop()
	})
	w.awaitReady(t, s.replicas)
	eventually(t, "the virtual cluster takes pods", func(ctx context.Context) error {
		client := w.pick()
		if client == nil {
			return errNobody
		}
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// memberAddresses returns the arguments by which the pods of a release are members of one store.
// Without them, all tests would use the port that each pod has to itself.
func memberAddresses(t *testing.T, release string) func(pod string) []string {
	t.Helper()
	var addresses []string
	for i := range 3 {
		addresses = append(addresses, fmt.Sprintf("%s-%d=%s", release, i, ports.Free(t, "127.0.0.1")))
	}
	argument := "--peer-addresses=" + strings.Join(addresses, ",")
	return func(string) []string { return []string{argument} }
}

// awaitReady waits until so many replicas are ready.
func (w *world) awaitReady(t *testing.T, replicas int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d replicas are ready", replicas), func(context.Context) error {
		if ready := w.fleet.Ready(); len(ready) != replicas {
			return errors.Join(fmt.Errorf("%d are, of %d that run", len(ready), len(w.fleet.Replicas())), w.fleet.Err())
		}
		return nil
	})
}

// pick returns the client of a ready replica, of each in turn, as a Service does. It is nil
// if there is none.
func (w *world) pick() kubernetes.Interface {
	ready := w.fleet.Ready()
	if len(ready) == 0 {
		return nil
	}
	return ready[w.next.Add(1)%uint64(len(ready))].Client()
}

// client waits for a ready replica and returns its client.
func (w *world) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	var client kubernetes.Interface
	eventually(t, "a replica is ready", func(context.Context) error {
		if client = w.pick(); client == nil {
			return errNobody
		}
		return nil
	})
	return client
}

// logTails prints the ends of the logs of all replicas, and of the processes before.
func (w *world) logTails(t *testing.T, dir string) {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(dir, "*", "server*.log"))
	for _, log := range logs {
		content, _ := os.ReadFile(log)
		t.Logf("%s:\n%s", log, content[max(0, len(content)-4000):])
	}
}

// errReady is the error of a replica that must not be ready.
var errReady = errors.New("it is")

// errNobody is the error of a request that no replica could take.
var errNobody = errors.New("no replica is ready")

// eventually waits until check returns nil.
func eventually(t testing.TB, what string, check func(ctx context.Context) error) {
	t.Helper()
	await.Until(t, what, check)
}
