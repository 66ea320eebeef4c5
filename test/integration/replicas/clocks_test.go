package replicas

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/test/clock"
)

// clocks are the wall clocks of pods, each of which jumps alone.
type clocks struct {
	dir string
	mu  sync.Mutex
	all map[string]*clock.Clock // pod -> its clock
}

// of returns the clock of a pod. The processes of a pod have one after the other.
func (c *clocks) of(t *testing.T, pod string) *clock.Clock {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[pod] == nil {
		made, err := clock.New(filepath.Join(c.dir, pod))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = made.Close() })
		c.all[pod] = made
	}
	return c.all[pod]
}

// set makes the clock of a pod jump to the right time plus shift.
func (c *clocks) set(t *testing.T, pod string, shift time.Duration) {
	t.Helper()
	if err := c.of(t, pod).Set(shift); err != nil {
		t.Errorf("clock of %s: %v", pod, err)
	}
}

// jump sets the clock of a replica. One that is a little wrong stays so until it jumps again.
func (c *clocks) jump(name string, shifts ...time.Duration) fault {
	return fault{name, func(t *testing.T, w *world, random *rand.Rand) func() {
		victim := choose(w.fleet.Replicas(), random)
		if victim == nil {
			return nil
		}
		shift := shifts[random.IntN(len(shifts))]
		t.Logf("the clock of %s is wrong by %s", victim.Pod, shift)
		c.set(t, victim.Pod, shift)
		if shift.Abs() < tolerated {
			return nil
		}
		return func() { c.set(t, victim.Pod, 0) }
	}}
}

// right puts all clocks right.
func (c *clocks) right(t *testing.T) {
	t.Helper()
	for pod := range c.all {
		c.set(t, pod, 0)
	}
}

// tolerated is by how much a clock may be wrong that stops nobody: certificates are valid from
// five minutes before they are issued. A replica whose clock is hours wrong refuses others, or
// they refuse it.
const tolerated = 5 * time.Minute

// TestClocks checks a cluster of three replicas, with an etcd in each, whose clocks jump.
func TestClocks(t *testing.T) {
	t.Parallel()
	if !isLong() {
		t.Skip("it compiles the server once more: set " + longVariable)
	}
	server, err := clock.Build(t.Context(), t.TempDir(), "github.com/sublet-dev/sublet/cmd/sublet-server")
	if err != nil {
		t.Fatal(err)
	}
	p, c := newPeers(t, "shop-0", "shop-1", "shop-2"), &clocks{dir: t.TempDir(), all: map[string]*clock.Clock{}}
	options := p.options()
	options.Environment = func(pod string) []string { return []string{c.of(t, pod).Environment()} }
	w := newWorld(t, setup{replicas: 3, server: server, options: options, values: map[string]any{"controlPlane": map[string]any{
		"statefulSet": map[string]any{"highAvailability": map[string]any{"replicas": 3}},
	}}})
	t.Run("leader", func(t *testing.T) { w.testLeaderClock(t, c) })
	t.Run("start", func(t *testing.T) { w.testWrongStart(t, c) })
	t.Run("consistency", func(t *testing.T) {
		little := c.jump("clock a little wrong", 10*time.Second, -10*time.Second, 2*time.Minute, -2*time.Minute)
		wrong := c.jump("clock wrong", 10*time.Minute, -10*time.Minute, time.Hour, -time.Hour, 2*time.Hour, -2*time.Hour)
		others := cut("cut from the other members", p.networkOf)
		w.checkConsistency(t, *faultTime, kill(), pause(), cutHost(w), others, little, little, wrong, wrong)
	})
	c.right(t)
	w.awaitReady(t, w.replicas)
	w.awaitCopy(t, w.watchPods(t), "after-all")
}

// testLeaderClock sets the clock of the leader for longer than its lease lasts. There is one
// leader at a time, and no replica goes back to an earlier resourceVersion.
func (w *world) testLeaderClock(t *testing.T, c *clocks) {
	pods, terms := w.watchPods(t), w.watchTerms(t)
	for i, shift := range []time.Duration{time.Hour, -time.Hour} {
		leader := w.awaitLeader(t, "")
		others := w.follower(t, leader.Pod)
		before := w.awaitVersion(t, others)
		c.set(t, leader.Pod, shift)
		awaitRenewals(t, others)
		t.Logf("%s led, its clock is wrong by %s, %s leads", leader.Pod, shift, w.awaitLeader(t, "").Pod)
		w.insistOnPod(t, fmt.Sprintf("wrong-clock-%d", i))
		c.right(t)
		w.awaitReady(t, w.replicas)
		for _, replica := range w.fleet.Ready() {
			if version := w.awaitVersion(t, replica.Client()); version <= before {
				t.Errorf("%s has resourceVersion %d, after %d", replica.Pod, version, before)
			}
		}
		w.awaitCopy(t, pods, fmt.Sprintf("right-clock-%d", i))
	}
	pods.checkCopies(t)
	w.checkTerms(t, terms)
}

// awaitVersion returns the resourceVersion that a replica has in its store.
func (w *world) awaitVersion(t *testing.T, client kubernetes.Interface) uint64 {
	t.Helper()
	var version uint64
	eventually(t, "a replica lists", func(ctx context.Context) error {
		list, err := client.CoreV1().ConfigMaps(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil {
			version, err = strconv.ParseUint(list.ResourceVersion, 10, 64)
		}
		return err
	})
	return version
}

// awaitRenewals waits for so many renewals of the leader's lease, by any replica, that one
// that is not renewed has ended.
func awaitRenewals(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	seen := map[string]bool{}
	eventually(t, "the lease is renewed", func(ctx context.Context) error {
		lease, err := client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, "sublet-leader", metav1.GetOptions{})
		if err != nil {
			return err
		}
		seen[lease.ResourceVersion] = true
		if wanted := int(*lease.Spec.LeaseDurationSeconds) + 2; len(seen) < wanted {
			return fmt.Errorf("%d versions of %d", len(seen), wanted)
		}
		return nil
	})
}

// testWrongStart starts a follower while its clock is wrong. Its certificates are wrong too,
// and are issued again when the clock is right.
func (w *world) testWrongStart(t *testing.T, c *clocks) {
	pods, terms := w.watchPods(t), w.watchTerms(t)
	for i, shift := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		pod := "shop-0"
		if w.awaitLeader(t, "").Pod == pod {
			pod = "shop-1"
		}
		w.fleet.Kill(pod)
		c.set(t, pod, shift)
		w.fleet.Restart(pod)
		eventually(t, pod+" has a certificate of its clock", func(ctx context.Context) error {
			return w.checkCertificate(ctx, pod, func(leaf *x509.Certificate) bool { return leaf.NotBefore.Sub(time.Now().Add(shift)).Abs() < time.Hour })
		})
		c.set(t, pod, 0)
		w.awaitReady(t, w.replicas)
		w.awaitCopy(t, pods, fmt.Sprintf("wrong-start-%d", i))
		eventually(t, pod+" has a valid certificate", func(ctx context.Context) error {
			return w.checkCertificate(ctx, pod, func(leaf *x509.Certificate) bool { return leaf.NotBefore.Before(time.Now()) })
		})
	}
	w.checkTerms(t, terms)
}

// checkCertificate returns an error unless the process of a pod serves operators with such a
// certificate.
func (w *world) checkCertificate(ctx context.Context, pod string, isWanted func(*x509.Certificate) bool) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for _, replica := range w.fleet.Replicas() {
		if replica.Pod != pod {
			continue
		}
		dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
		conn, err := dialer.DialContext(ctx, "tcp", replica.Operator())
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
		if !isWanted(leaf) {
			return fmt.Errorf("it is valid from %s", leaf.NotBefore)
		}
		return nil
	}
	return errNobody
}
