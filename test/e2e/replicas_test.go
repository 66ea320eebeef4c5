//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/test/etcd"
)

const (
	// gapLimit is how long the virtual API may be away while a replica stops or dies, on a
	// busy machine. The figures of the test are for comparison.
	gapLimit = 2 * time.Minute
	// takeoverLimit is how long a new pod may wait for its host copy after the leader's death.
	takeoverLimit = 2 * time.Minute
	// requestPause is the time between two requests that look for gaps.
	requestPause = 50 * time.Millisecond
)

// TestReplicas runs three replicas on one etcd. It kills the leader, and then restarts all of
// them by an upgrade.
func TestReplicas(t *testing.T) {
	t.Parallel()
	const external = "controlPlane.backingStore.etcd.external."
	tn := install(t, "replicas", "replicas", external+"enabled=true", external+"endpoint="+etcd.Start(t, etcd.Options{IP: machineAddress(t)}).Endpoint(),
		"controlPlane.statefulSet.highAvailability.replicas=3")
	mustRun(t, hostKubectl("-n", tn.namespace, "rollout", "status", "statefulset", tn.release, "--timeout", (3*patience).String()))

	leader := tn.leader(t)
	probe := tn.probe()
	killPod(t, leader)
	begin := time.Now()
	tn.createPod(t.Context(), "after-kill")
	eventually(t, "a new pod is synced", func(ctx context.Context) error {
		list, err := hostClient.CoreV1().Pods(tn.namespace).List(ctx, metav1.ListOptions{LabelSelector: "sublet.dev/cluster"})
		if err == nil && len(list.Items) == 0 {
			err = errors.New("there is none")
		}
		return err
	})
	took := time.Since(begin)
	gap := probe.stop()
	figure("ha_sync_gap", took.Seconds(), "s")
	figure("ha_api_gap", gap.Seconds(), "s")
	if took > takeoverLimit || gap > gapLimit {
		t.Errorf("after the death of %s: a pod was synced after %s, and the API was away for %s", leader, took, gap)
	}

	mustRun(t, hostKubectl("-n", tn.namespace, "rollout", "status", "statefulset", tn.release, "--timeout", (3*patience).String()))
	probe = tn.probe()
	tn.upgrade("logging.verbosity=1")
	gap = probe.stop()
	figure("ha_upgrade_gap", gap.Seconds(), "s")
	if gap > gapLimit {
		t.Errorf("while all replicas restarted, the API was away for %s", gap)
	}
}

// leader returns the pod that leads by the lease.
func (tn *tenant) leader(t *testing.T) string {
	t.Helper()
	pod := ""
	eventually(t, "a replica leads", func(ctx context.Context) error {
		lease, err := tn.virtual.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, "sublet-leader", metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
			return fmt.Errorf("nobody does: %w", err)
		}
		pod, _, _ = strings.Cut(*lease.Spec.HolderIdentity, "_")
		return nil
	})
	return pod
}

// killPod kills the server process of one pod.
func killPod(t *testing.T, pod string) {
	t.Helper()
	pid := processOf(t, pod)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("cannot kill %d: %v", pid, err)
	}
}

// processOf returns the server process of one pod.
func processOf(t *testing.T, pod string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(environ, []byte("POD_NAME="+pod+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	t.Fatalf("there is no process of pod %s", pod)
	return 0
}

// gapProbe measures for how long the virtual API does not respond.
type gapProbe struct {
	cancel  context.CancelFunc
	probing sync.WaitGroup
	longest time.Duration
}

// probe sends requests to the Service of the virtual API until it is stopped.
func (tn *tenant) probe() *gapProbe {
	ctx, cancel := context.WithCancel(tn.t.Context())
	p := &gapProbe{cancel: cancel}
	last := time.Now()
	p.probing.Go(func() {
		for ctx.Err() == nil {
			limited, end := context.WithTimeout(ctx, time.Second)
			_, err := tn.virtual.CoreV1().Namespaces().Get(limited, metav1.NamespaceDefault, metav1.GetOptions{})
			end()
			if err == nil {
				p.longest, last = max(p.longest, time.Since(last)), time.Now()
			}
			select {
			case <-ctx.Done():
			case <-time.After(requestPause):
			}
		}
	})
	return p
}

// stop ends the probe and returns the longest time without an answer.
func (p *gapProbe) stop() time.Duration {
	p.cancel()
	p.probing.Wait()
	return p.longest
}
