package replicas

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
	"github.com/sublet-dev/sublet/test/consistency"
	"github.com/sublet-dev/sublet/test/etcd"
)

// TestSharedEtcd checks a cluster of three replicas on one etcd outside of them.
func TestSharedEtcd(t *testing.T) {
	t.Parallel()
	if !isLong() {
		t.Skip("it takes a minute: set " + longVariable)
	}
	store := &sharedEtcd{endpoint: etcd.Start(t, etcd.Options{}).Endpoint(), links: map[string]*link{}}
	w := newWorld(t, store.setup(t, 3))
	t.Run("leader's death", w.testLeaderDeath)
	t.Run("paused leader", w.testPausedLeader)
	t.Run("cut from the store", func(t *testing.T) {
		w.testCutLeader(t, store.networkOf(t))
	})
	t.Run("consistency", func(t *testing.T) {
		w.checkConsistency(t, *faultTime, kill(), pause(), cutHost(w), cut("cut from the store", store.networkOf(t)))
	})
}

// deaths is how often the leader is killed.
const deaths = 3

// testLeaderDeath kills one leader after the other. The API stays, and the next
// leader syncs soon.
func (w *world) testLeaderDeath(t *testing.T) {
	pods, terms := w.watchPods(t), w.watchTerms(t)
	pulse := consistency.NewPulse("pulse", consistency.Options{Pick: w.pick, Timeout: time.Second})
	if err := pulse.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() { pulse.Run(ctx) })
	var gaps, syncs []time.Duration
	for i := range deaths {
		leader := w.awaitLeader(t, "").Pod
		killed := time.Now()
		w.fleet.Kill(leader)
		w.awaitCopy(t, pods, fmt.Sprintf("death-%d", i))
		syncs = append(syncs, time.Since(killed))
		gaps = append(gaps, pulse.LongestGap(killed))
		w.fleet.Restart(leader)
		w.awaitReady(t, w.replicas)
	}
	cancel()
	writing.Wait()
	t.Logf("gaps of the API %v, syncs after the leader's death %v", gaps, syncs)
	w.checkTerms(t, terms)
}

// testPausedLeader pauses the leader until another one leads. When the first continues, it
// must not write.
func (w *world) testPausedLeader(t *testing.T) {
	pods, terms := w.watchPods(t), w.watchTerms(t)
	for i := range deaths {
		paused := w.awaitLeader(t, "")
		// It has work to do at the moment at which it stops.
		for j := range 10 {
			w.insistOnPod(t, fmt.Sprintf("before-pause-%d-%d", i, j))
		}
		err := paused.Pause()
		if errors.Is(err, os.ErrProcessDone) {
			t.Logf("%s has ended by itself", paused.Pod)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		w.awaitLeader(t, paused.Pod)
		w.awaitCopy(t, pods, fmt.Sprintf("pause-%d", i))
		if err := paused.Resume(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		w.awaitCopy(t, pods, fmt.Sprintf("resume-%d", i))
		w.awaitReady(t, w.replicas)
	}
	pods.checkCopies(t)
	w.checkTerms(t, terms)
}

// testCutLeader cuts the leader off the store. It refuses writes and stops to lead, and it
// comes back.
func (w *world) testCutLeader(t *testing.T, networkOf func(pod string) network) {
	pods, terms := w.watchPods(t), w.watchTerms(t)
	alone := w.awaitLeader(t, "")
	leader := alone.Pod
	networkOf(leader).cut()
	t.Cleanup(networkOf(leader).mend)
	w.awaitLeader(t, leader)
	w.awaitCopy(t, pods, "cut")
	if err := writeTo(t.Context(), alone.Client()); err == nil {
		t.Errorf("%s acknowledges a write without its store", leader)
	}
	eventually(t, leader+" is not ready", func(context.Context) error {
		if slices.ContainsFunc(w.fleet.Ready(), func(r *tenant.Replica) bool { return r.Pod == leader }) {
			return errReady
		}
		return nil
	})
	networkOf(leader).mend()
	w.awaitReady(t, w.replicas)
	for _, replica := range w.fleet.Ready() {
		eventually(t, replica.Pod+" takes a write after the cut", func(ctx context.Context) error { return writeTo(ctx, replica.Client()) })
	}
	pods.checkCopies(t)
	w.checkTerms(t, terms)
}

// awaitCopy creates a pod and waits until the host has its copy.
func (w *world) awaitCopy(t *testing.T, l *podLog, name string) {
	t.Helper()
	w.insistOnPod(t, name)
	eventually(t, "the host has pod "+name, func(context.Context) error {
		if !l.hasName(name) {
			return errors.New("it does not")
		}
		return nil
	})
}

// writeTo writes to one replica.
func writeTo(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(ctx,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "write-"}}, metav1.CreateOptions{})
	return err
}
