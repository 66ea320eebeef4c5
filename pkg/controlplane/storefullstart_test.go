package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	etcdkubernetes "go.etcd.io/etcd/client/v3/kubernetes"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/storage"
)

// fullBackend is a store that denies all writes but deletes while it is full.
type fullBackend struct {
	storage.Backend
	full *atomic.Bool
}

// Start starts the store.
func (b fullBackend) Start(ctx context.Context) (*etcdkubernetes.Client, error) {
	client, err := b.Backend.Start(ctx)
	if err != nil {
		return nil, err
	}
	client.Kubernetes = fullStore{client.Kubernetes, b.full}
	return client, nil
}

// fullStore is the client of a fullBackend.
type fullStore struct {
	etcdkubernetes.Interface
	full *atomic.Bool
}

// OptimisticPut writes a key.
func (s fullStore) OptimisticPut(ctx context.Context, key string, value []byte, revision int64, opts etcdkubernetes.PutOptions,
) (etcdkubernetes.PutResponse, error) {
	if s.full.Load() {
		return etcdkubernetes.PutResponse{}, &storage.FullError{Updates: true}
	}
	return s.Interface.OptimisticPut(ctx, key, value, revision, opts)
}

// TestStartWithAFullStore starts on a store that denies each write, after its tenant
// has deleted what a start writes. Once there is space, all of it comes back.
func TestStartWithAFullStore(t *testing.T) {
	t.Parallel()
	dir, bundle, full := t.TempDir(), newBundle(t), &atomic.Bool{}
	clock := testingclock.NewFakeClock(time.Now())
	config := func() Config {
		return Config{
			Storage: fullBackend{throwAway(dir), full}, PKI: bundle, AdvertiseAddress: mustIP("10.1.2.3"), Clock: clock,
			ServiceCIDR: "10.96.0.0/16", DNSServiceIP: mustIP(dnsAddress),
		}
	}
	first := startPlane(t, config())
	full.Store(true)
	deleteSystemObjects(t, first)
	deleteStartObjects(t, first)
	stopInTime(t, first)

	awaitFree(t, dir)
	second := startPlane(t, config())
	unhealthy := strings.Join(listUnhealthy(second), "\n")
	for _, want := range []string{"service kube-system/kube-dns", "flow control", "service addresses", "service range"} {
		requireContains(t, "what could not be written is shown", unhealthy, want)
	}
	if _, err := second.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("a read from a full store: %v", err)
	}
	full.Store(false)
	eventually(t, "objects after space is free", func(context.Context) string {
		clock.Step(time.Second)
		return strings.Join(listUnhealthy(second), "\n")
	})
	schemas, err := second.client.FlowcontrolV1().FlowSchemas().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(schemas.Items) == 0 {
		t.Errorf("FlowSchemas after space is free: got %d, %v", len(schemas.Items), err)
	}
}

// listUnhealthy returns what a control plane reports as not healthy.
func listUnhealthy(p *plane) []string {
	var unhealthy []string
	for _, check := range p.Checks() {
		if !check.Healthy {
			unhealthy = append(unhealthy, check.Name+": "+check.Message+" ("+strings.Join(check.Details, "; ")+")")
		}
	}
	return unhealthy
}

// deleteStartObjects deletes what the tasks of a start keep, as a tenant may.
func deleteStartObjects(t *testing.T, p *plane) {
	t.Helper()
	all := metav1.ListOptions{}
	for what, err := range map[string]error{
		"FlowSchemas":                 p.client.FlowcontrolV1().FlowSchemas().DeleteCollection(t.Context(), metav1.DeleteOptions{}, all),
		"PriorityLevelConfigurations": p.client.FlowcontrolV1().PriorityLevelConfigurations().DeleteCollection(t.Context(), metav1.DeleteOptions{}, all),
		"IPAddresses":                 p.client.NetworkingV1().IPAddresses().DeleteCollection(t.Context(), metav1.DeleteOptions{}, all),
		"ServiceCIDRs":                p.client.NetworkingV1().ServiceCIDRs().DeleteCollection(t.Context(), metav1.DeleteOptions{}, all),
	} {
		if err != nil {
			t.Fatalf("cannot delete %s: %v", what, err)
		}
	}
}

// TestRestartWithAFullStore fills the quota of a real store with updates, until it takes
// no write any more. The next start succeeds, and deletes free the space.
func TestRestartWithAFullStore(t *testing.T) {
	t.Parallel()
	dir, bundle := t.TempDir(), newBundle(t)
	config := func() Config {
		store := storage.Embedded(dir)
		store.NoSync, store.Quota = true, 64<<20
		return Config{Storage: store, PKI: bundle}
	}
	first := startPlane(t, config())
	maps := first.client.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	const count = 200
	for i := range count {
		if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("map-", i)}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var denied error
	for i := 0; i < count && denied == nil; i++ {
		_, denied = maps.Update(t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("map-", i)}, Data: map[string]string{"data": strings.Repeat("x", 1_000_000)},
		}, metav1.UpdateOptions{})
	}
	status := apierrors.APIStatus(nil)
	if !errors.As(denied, &status) || status.Status().Code != http.StatusInsufficientStorage {
		t.Fatalf("updates beyond the quota: got %v, want code 507", denied)
	}
	stopInTime(t, first)

	second := startPlane(t, config())
	maps = second.client.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	for i := range count {
		eventually(t, "a delete after a start with a full store", func(ctx context.Context) string {
			err := maps.Delete(ctx, fmt.Sprint("map-", i), metav1.DeleteOptions{})
			if err == nil || apierrors.IsNotFound(err) {
				return ""
			}
			return err.Error() // The store is defragmented, which a busy machine does for seconds.
		})
	}
	eventually(t, "health after the deletes", func(ctx context.Context) string {
		if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "again-"}}, metav1.CreateOptions{}); err != nil {
			return err.Error()
		}
		return strings.Join(listUnhealthy(second), "\n")
	})
}
