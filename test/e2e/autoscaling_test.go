//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/test/etcd"
)

const (
	autoscalingValues = "controlPlane.statefulSet.autoscaling."
	// loadClients send requests at the same time.
	loadClients = 6
)

// TestScaleByRequests generates load on a virtual cluster with an external etcd. The leader
// scales it from one replica to three, an upgrade keeps them, and without load there is one again.
func TestScaleByRequests(t *testing.T) {
	t.Parallel()
	tn := installElastic(t, "elastic", "targetRequestsPerSecond=5")
	begin := time.Now()
	// Six clients send up to 20 requests a second each, far more than three replicas are to have. A busy machine answers few.
	stop := tn.generateLoad(50 * time.Millisecond)
	tn.awaitReplicas(3)
	figure("autoscale_up", time.Since(begin).Seconds(), "s")

	tn.upgrade("logging.verbosity=1")
	// The load may have changed the number since then, so look at what the upgrade has set.
	const field = "\n  replicas: "
	if manifest := mustRun(t, helm("get", "manifest", tn.release, "-n", tn.namespace)); !strings.Contains(manifest, field) || strings.Contains(manifest, field+"1\n") {
		t.Error("an upgrade has set 1 replica or none, want as many as before")
	}
	tn.testScaleFence()
	stop()
	begin = time.Now()
	tn.awaitReplicas(1)
	figure("autoscale_down", time.Since(begin).Seconds(), "s")

	tn.awaitReady()
	tn.runPods("after")
	eventually(t, "events tell of both changes", func(ctx context.Context) error {
		events, err := hostClient.CoreV1().Events(tn.namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=Scaled"})
		if err != nil {
			return err
		}
		for _, want := range []string{" to 3 replicas", " to 1 replicas"} {
			if !slices.ContainsFunc(events.Items, func(e corev1.Event) bool { return strings.Contains(e.Message, want) }) {
				return fmt.Errorf("none of %d has %q", len(events.Items), want)
			}
		}
		return nil
	})
}

// TestScaleByCPU generates load on a virtual cluster with an external etcd. An autoscaler of the
// host scales it from one replica to three. Without load there is one again.
func TestScaleByCPU(t *testing.T) {
	// The target is far above what an idle replica uses, and far below what the load takes.
	tn := installElastic(t, "busy", "targetCPUUtilizationPercentage=60", "controlPlane.statefulSet.resources.requests.cpu=100m")
	stop := tn.generateLoad(time.Millisecond)
	tn.awaitReplicas(3)
	stop()
	tn.awaitReplicas(1)
	tn.awaitReady()
	tn.runPods("after")
}

// installElastic installs a virtual cluster with an external etcd that scales by a target, and
// waits until it has one replica.
func installElastic(t *testing.T, name, target string, values ...string) *tenant {
	t.Helper()
	const external = "controlPlane.backingStore.etcd.external."
	endpoint := etcd.Start(t, etcd.Options{IP: machineAddress(t)}).Endpoint()
	tn := install(t, name, name, append([]string{
		external + "enabled=true", external + "endpoint=" + endpoint,
		autoscalingValues + "enabled=true", autoscalingValues + target,
		autoscalingValues + "behavior.scaleDown.stabilizationWindowSeconds=15",
	}, values...)...)
	tn.awaitReplicas(1)
	return tn
}

// testScaleFence scales beyond the bounds with the account of the control plane.
func (tn *tenant) testScaleFence() {
	tn.t.Helper()
	config := rest.CopyConfig(hostConfig)
	config.Impersonate.UserName = "system:serviceaccount:" + tn.namespace + ":" + tn.release
	client := kubernetes.NewForConfigOrDie(config)
	_, err := client.AppsV1().StatefulSets(tn.namespace).
		Patch(tn.t.Context(), tn.release, types.MergePatchType, []byte(`{"spec":{"replicas":9}}`), metav1.PatchOptions{}, "scale")
	if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
		tn.t.Errorf("the account of the control plane scales beyond the bounds: %v", err)
	}
}

// generateLoad sends short requests to the virtual API until stop is called. Each client pauses
// between two of them.
func (tn *tenant) generateLoad(pause time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(tn.t.Context())
	var clients sync.WaitGroup
	for range loadClients {
		clients.Go(func() {
			ticker := time.NewTicker(pause)
			defer ticker.Stop()
			for {
				limited, end := context.WithTimeout(ctx, 5*time.Second)
				_, _ = tn.virtual.CoreV1().Namespaces().Get(limited, metav1.NamespaceDefault, metav1.GetOptions{})
				end()
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		clients.Wait()
	})
	tn.t.Cleanup(stop)
	return stop
}

// awaitReplicas waits until the control plane has as many ready replicas, and is to have no others.
func (tn *tenant) awaitReplicas(count int32) {
	tn.t.Helper()
	eventually(tn.t, fmt.Sprintf("%d replicas are ready", count), func(ctx context.Context) error {
		set, err := hostClient.AppsV1().StatefulSets(tn.namespace).Get(ctx, tn.release, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if *set.Spec.Replicas != count || set.Status.Replicas != count || set.Status.ReadyReplicas != count {
			return fmt.Errorf("want %d, have %d, and %d are ready", *set.Spec.Replicas, set.Status.Replicas, set.Status.ReadyReplicas)
		}
		return nil
	})
}
