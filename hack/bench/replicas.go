package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
	"github.com/sublet-dev/sublet/test/consistency"
)

const (
	haReplicas = 3
	// haQuiet is how long writes are measured without a fault.
	haQuiet = 5 * time.Second
	// haTimeout bounds each wait of the measurement.
	haTimeout = time.Minute
	haPoll    = 10 * time.Millisecond
)

// startEtcd starts an etcd in this process, and returns its endpoint. It writes to the disk
// as a real one does.
func (b *bench) startEtcd(ctx context.Context) (endpoint string, stop func(), err error) {
	dir, err := os.MkdirTemp(b.dir, "etcd-")
	if err != nil {
		return "", nil, fmt.Errorf("cannot create the folder of the etcd: %w", err)
	}
	config := embed.NewConfig()
	config.Dir, config.LogLevel, config.LogOutputs = dir, "fatal", []string{"/dev/null"}
	anywhere := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config.ListenClientUrls, config.AdvertiseClientUrls, config.ListenPeerUrls = anywhere, anywhere, anywhere
	server, err := embed.StartEtcd(config)
	if err != nil {
		return "", nil, fmt.Errorf("cannot start the etcd: %w", err)
	}
	select {
	case <-server.Server.ReadyNotify():
		return "http://" + server.Clients[0].Addr().String(), server.Close, nil
	case <-ctx.Done():
		server.Close()
		return "", nil, fmt.Errorf("the etcd does not start: %w", context.Cause(ctx))
	}
}

// team is a virtual cluster of several replicas.
type team struct {
	host  kubernetes.Interface
	fleet *tenant.Fleet
	space string
	next  atomic.Uint64
	pods  int
	pulse *consistency.Pulse
}

// measureReplicas measures a virtual cluster of three replicas on one etcd, while one after
// the other is killed.
func (b *bench) measureReplicas(ctx context.Context) error {
	endpoint, stop, err := b.startEtcd(ctx)
	if err != nil {
		return err
	}
	defer stop()
	release, err := b.install(ctx, b.tenant, onEtcd(endpoint, haReplicas))
	if err != nil {
		return err
	}
	fleet, err := release.RunFleet(ctx, tenant.FleetOptions{Dir: b.dir})
	if err != nil {
		return err
	}
	defer fleet.Stop()
	t := &team{host: b.host.Client(), fleet: fleet, space: release.Namespace()}
	if err := t.awaitReady(ctx); err != nil {
		return err
	}
	t.pulse = consistency.NewPulse("bench", consistency.Options{Pick: t.pick, Timeout: time.Second})
	if err := t.pulse.Prepare(ctx); err != nil {
		return err
	}
	writing, end := context.WithCancel(ctx)
	var client sync.WaitGroup
	client.Go(func() { t.pulse.Run(writing) })
	defer client.Wait()
	defer end()
	for range b.runs {
		if err := b.replicasOnce(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// onEtcd returns the values of replicas on an etcd.
func onEtcd(endpoint string, replicas int) map[string]any {
	return map[string]any{"controlPlane": map[string]any{
		"backingStore": map[string]any{"etcd": map[string]any{"external": map[string]any{"enabled": true, "endpoint": endpoint}}},
		"statefulSet":  map[string]any{"highAvailability": map[string]any{"replicas": replicas}},
	}}
}

// replicasOnce measures writes in peace, and kills each replica once.
func (b *bench) replicasOnce(ctx context.Context, t *team) error {
	before := len(t.pulse.Delays())
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(haQuiet):
	}
	var writes, gaps []float64
	for _, delay := range t.pulse.Delays()[before:] {
		writes = append(writes, milliseconds(delay))
	}
	if len(writes) == 0 {
		return errors.New("no write was acknowledged")
	}
	var syncs []float64
	for _, replica := range t.fleet.Replicas() {
		leader, err := t.leader(ctx)
		if err != nil {
			return err
		}
		killed := time.Now()
		t.fleet.Kill(replica.Pod)
		if replica.Pod == leader {
			if err := t.sync(ctx); err != nil {
				return err
			}
			syncs = append(syncs, time.Since(killed).Seconds())
		}
		t.fleet.Restart(replica.Pod)
		if err := t.awaitReady(ctx); err != nil {
			return err
		}
		gaps = append(gaps, t.pulse.LongestGap(killed).Seconds())
	}
	b.progressf("  writes %.1f / %.1f ms, gaps %.2f s, syncs %.2f s", percentile(writes, 50), percentile(writes, 99), gaps, syncs)
	b.add("ha_write_p50", percentile(writes, 50))
	b.add("ha_write_p99", percentile(writes, 99))
	b.add("ha_api_gap", slices.Max(gaps))
	if len(syncs) > 0 {
		b.add("ha_sync_gap", slices.Max(syncs))
	}
	return nil
}

// pick returns the client of each ready replica in turn, as a Service does.
func (t *team) pick() kubernetes.Interface {
	ready := t.fleet.Ready()
	if len(ready) == 0 {
		return nil
	}
	return ready[t.next.Add(1)%uint64(len(ready))].Client()
}

func (t *team) awaitReady(ctx context.Context) error {
	return poll(ctx, "the replicas are not ready", func(context.Context) error {
		if ready := len(t.fleet.Ready()); ready != haReplicas {
			return fmt.Errorf("%d of %d, %w", ready, haReplicas, errors.Join(errNoReplica, t.fleet.Err()))
		}
		return nil
	})
}

// leader returns the pod that leads.
func (t *team) leader(ctx context.Context) (pod string, err error) {
	err = poll(ctx, "nobody leads", func(ctx context.Context) error {
		client := t.pick()
		if client == nil {
			return errNoReplica
		}
		lease, err := client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, "sublet-leader", metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil {
			return err
		}
		pod, _, _ = strings.Cut(*lease.Spec.HolderIdentity, "_")
		return nil
	})
	return pod, err
}

// sync creates a pod and waits until the host has it.
func (t *team) sync(ctx context.Context) error {
	t.pods++
	name := fmt.Sprintf("synced-%d", t.pods)
	err := poll(ctx, "the pod cannot be created", func(ctx context.Context) error {
		client := t.pick()
		if client == nil {
			return errNoReplica
		}
		_, err := client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, newPod(name), metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return poll(ctx, "the pod is not synced", func(ctx context.Context) error {
		list, err := t.host.CoreV1().Pods(t.space).List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(list.Items, func(pod corev1.Pod) bool { return pod.Annotations[labels.VirtualName] == name }) {
			return errors.New("the host does not have it")
		}
		return nil
	})
}

var errNoReplica = errors.New("no replica is ready")

// poll calls check until it returns nil. Each call may take two seconds.
func poll(ctx context.Context, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, haTimeout)
	defer cancel()
	for {
		once, done := context.WithTimeout(ctx, 2*time.Second)
		err := check(once)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(haPoll):
		}
	}
}
