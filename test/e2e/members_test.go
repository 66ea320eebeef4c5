//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

const (
	// writePeriod is the time between two writes of the client.
	writePeriod = 500 * time.Millisecond
	// writeTimeout bounds one write, which is tried again.
	writeTimeout = time.Second

	replicasSetting = "controlPlane.statefulSet.highAvailability.replicas="
)

// TestMembers scales the control plane with its embedded etcd from one to three replicas
// and back, by Helm and by kubectl. It kills each of the three, and cuts the
// network of one. A client that writes twice a second loses nothing. In the end, two replicas are
// refused.
func TestMembers(t *testing.T) {
	t.Parallel()
	// By default, 300 pods request more CPU than the node may have.
	tn := install(t, "members", "members", "policies.limitRange.defaultRequest.cpu=1m")
	load := newMemberLoad()
	tn.startPods(load.pods)
	before := tn.podUIDs()
	for _, step := range []struct {
		name     string
		scale    func()
		replicas int
	}{
		{"upgrade_1_3", func() { tn.upgrade(replicasSetting + "3") }, 3},
		{"upgrade_3_1", func() { tn.upgrade(replicasSetting + "1") }, 1},
		{"scale_1_3", func() { tn.scale(3) }, 3},
		{"scale_3_1", func() { tn.scale(1) }, 1},
	} {
		w := tn.startWriter(step.name)
		begin := time.Now()
		step.scale()
		tn.awaitMembers(step.replicas)
		t.Logf("%s: took %s", step.name, time.Since(begin).Round(time.Millisecond))
		w.check(step.name)
		if step.name == "upgrade_1_3" {
			tn.killMembers(load)
			tn.cutLeader()
		}
	}
	checkKept(t, before, tn.podUIDs())
	testSecondReplica(t, tn, refusalOfTwoMembers(tn))
	tn.awaitMembers(1)
}

// startPods creates pods and waits until they are ready. It does so in parts: containers that all
// start at once on a slow node reach the timeout of the kubelet, which starts them again.
func (tn *tenant) startPods(count int) {
	tn.t.Helper()
	const part = 25
	for i := range count {
		tn.createPod(tn.t.Context(), fmt.Sprintf("kill-%d", i))
		if i%part == part-1 || i == count-1 {
			tn.kubectl("wait", "--for", "condition=Ready", "pod", "-l", "test=kill", "--timeout", patience.String())
		}
	}
}

// scale changes the replicas as an operator does without Helm.
func (tn *tenant) scale(replicas int) {
	tn.t.Helper()
	mustRun(tn.t, hostKubectl("-n", tn.namespace, "scale", "statefulset", tn.release, "--replicas", strconv.Itoa(replicas)))
}

// awaitMembers waits until so many replicas are ready and in the record of the members.
func (tn *tenant) awaitMembers(replicas int) {
	tn.t.Helper()
	eventually(tn.t, fmt.Sprintf("%d members", replicas), func(ctx context.Context) error {
		anchor, err := hostClient.CoreV1().ConfigMaps(tn.namespace).Get(ctx, tn.release+"-anchor", metav1.GetOptions{})
		if err != nil {
			return err
		}
		var record struct {
			Pods []string `json:"pods"`
		}
		if err := json.Unmarshal([]byte(anchor.Annotations[labels.StoreMembers]), &record); err != nil {
			return err
		}
		set, err := hostClient.AppsV1().StatefulSets(tn.namespace).Get(ctx, tn.release, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(record.Pods) != replicas || set.Status.ReadyReplicas != int32(replicas) || set.Status.Replicas != int32(replicas) {
			return fmt.Errorf("the record has %v, and %d of %d replicas are ready", record.Pods, set.Status.ReadyReplicas, set.Status.Replicas)
		}
		return nil
	})
}

// podUIDs returns the UIDs of the host pods of the tenant.
func (tn *tenant) podUIDs() map[string]string {
	tn.t.Helper()
	list, err := hostClient.CoreV1().Pods(tn.namespace).List(tn.t.Context(), metav1.ListOptions{LabelSelector: "sublet.dev/cluster"})
	if err != nil {
		tn.t.Fatal(err)
	}
	uids := map[string]string{}
	for _, pod := range list.Items {
		uids[pod.Name] = string(pod.UID)
	}
	return uids
}

// memberWriter creates ConfigMaps until it is stopped.
type memberWriter struct {
	tn   *tenant
	stop context.CancelFunc
	done sync.WaitGroup

	written []string
	waits   []time.Duration // from the moment a write was due to its answer
}

// startWriter starts a client that writes twice a second.
func (tn *tenant) startWriter(name string) *memberWriter {
	ctx, stop := context.WithCancel(tn.t.Context())
	w := &memberWriter{tn: tn, stop: stop}
	maps := tn.virtual.CoreV1().ConfigMaps("default")
	w.done.Go(func() {
		tick := time.NewTicker(writePeriod)
		defer tick.Stop()
		due := time.Now()
		for i := 0; ctx.Err() == nil; {
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: fmt.Sprintf("w-%s-%d-", dashed(name), i), Labels: map[string]string{"writer": dashed(name)}}}
			writing, cancel := context.WithTimeout(ctx, writeTimeout)
			created, err := maps.Create(writing, object, metav1.CreateOptions{})
			cancel()
			if err == nil {
				w.written = append(w.written, created.Name)
				w.waits = append(w.waits, time.Since(due))
				i++
				select {
				case <-ctx.Done():
				case due = <-tick.C:
				}
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(writeTimeout / 20):
			}
		}
	})
	tn.t.Cleanup(func() { stop(); w.done.Wait() })
	return w
}

// dashed returns a name that Kubernetes accepts.
func dashed(name string) string {
	out := []byte(name)
	for i, c := range out {
		if c == '_' {
			out[i] = '-'
		}
	}
	return string(out)
}

// check stops the writer, and fails the test if an acknowledged write is lost or a write
// took longer than gapLimit.
func (w *memberWriter) check(name string) {
	w.tn.t.Helper()
	w.stop()
	w.done.Wait()
	list, err := w.tn.virtual.CoreV1().ConfigMaps("default").List(w.tn.t.Context(), metav1.ListOptions{LabelSelector: "writer=" + dashed(name)})
	if err != nil {
		w.tn.t.Fatal(err)
	}
	kept := map[string]bool{}
	for _, item := range list.Items {
		kept[item.Name] = true
	}
	lost := 0
	for _, one := range w.written {
		if !kept[one] {
			lost++
		}
	}
	gap := time.Duration(0)
	// A client that keeps its connection to a replica that was cut off may have no write at all.
	if slices.Sort(w.waits); len(w.waits) > 0 {
		gap = w.waits[len(w.waits)-1]
		figure("members_"+name+"_gap", gap.Seconds(), "s")
		figure("members_"+name+"_p99", w.waits[len(w.waits)*99/100].Seconds(), "s")
	}
	if lost > 0 {
		w.tn.t.Errorf("%s: of %d acknowledged writes, %d are lost", name, len(w.written), lost)
	}
	if gap > gapLimit {
		w.tn.t.Errorf("%s: a write took %s, want at most %s", name, gap.Round(time.Millisecond), gapLimit)
	}
}
