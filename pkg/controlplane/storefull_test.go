package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	etcdkubernetes "go.etcd.io/etcd/client/v3/kubernetes"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/storage"
)

// TestFullStore fills the store with large ConfigMaps until a create is denied, deletes
// them and continues without a restart.
func TestFullStore(t *testing.T) {
	t.Parallel()
	store := storage.Embedded(t.TempDir())
	store.NoSync, store.Quota = true, 64<<20
	p := startPlane(t, Config{Storage: store})
	maps := p.client.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	large := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"data": strings.Repeat("x", 1_000_000)}}
	}

	count := 0
	var denied error
	for ; denied == nil && count < 200; count++ {
		_, denied = maps.Create(t.Context(), large(fmt.Sprintf("large-%d", count)), metav1.CreateOptions{})
	}
	status, ok := denied.(apierrors.APIStatus)
	if !ok || status.Status().Code != http.StatusInsufficientStorage {
		t.Fatalf("after %d ConfigMaps of 1 MB: got %v, want code 507", count, denied)
	}
	for _, part := range []string{"of 64 MiB are in use", "Delete objects", quotaSetting, memorySetting, volumeSetting} {
		requireContains(t, "the tenant is told what is full and what to do", denied.Error(), part)
	}

	smaller := large("large-0")
	smaller.Data["data"] = "small"
	if _, err := maps.Update(t.Context(), smaller, metav1.UpdateOptions{}); err != nil {
		t.Errorf("an update in the full store: %v", err)
	}
	for i := range count - 1 {
		eventually(t, "a delete in the full store", func(ctx context.Context) string {
			err := maps.Delete(ctx, fmt.Sprintf("large-%d", i), metav1.DeleteOptions{})
			if err == nil || apierrors.IsNotFound(err) {
				return ""
			}
			return err.Error() // The store is defragmented, which a busy machine does for seconds.
		})
	}
	eventually(t, "creates after the deletes", func(ctx context.Context) string {
		if _, err := maps.Create(ctx, large("again"), metav1.CreateOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
}

func TestInsufficientStorage(t *testing.T) {
	t.Parallel()
	full := newInsufficientStorage(&storage.FullError{Volume: true})
	requireContains(t, "a full volume", full.Error(), volumeSetting)
	if strings.Contains(full.Error(), memorySetting) {
		t.Errorf("%q names the memory limit, which does not help", full.Error())
	}
}

// leaderlessStore loses its leader during each write.
type leaderlessStore struct{ etcdkubernetes.Interface }

func (leaderlessStore) OptimisticPut(context.Context, string, []byte, int64, etcdkubernetes.PutOptions) (etcdkubernetes.PutResponse, error) {
	return etcdkubernetes.PutResponse{}, storage.ErrLeaderLost
}

func (leaderlessStore) OptimisticDelete(context.Context, string, int64, etcdkubernetes.DeleteOptions) (etcdkubernetes.DeleteResponse, error) {
	return etcdkubernetes.DeleteResponse{}, storage.ErrLeaderLost
}

// TestLeaderLost shows that a client learns that the outcome of its write is unknown. It gets
// no time after which to try again, as client libraries would do that by themselves.
func TestLeaderLost(t *testing.T) {
	t.Parallel()
	writes := statusWrites{leaderlessStore{}}
	_, put := writes.OptimisticPut(t.Context(), "/registry/key", nil, 0, etcdkubernetes.PutOptions{})
	_, deleted := writes.OptimisticDelete(t.Context(), "/registry/key", 1, etcdkubernetes.DeleteOptions{})
	for _, err := range []error{put, deleted} {
		if _, retries := apierrors.SuggestsClientDelay(err); !apierrors.IsTimeout(err) || retries {
			t.Errorf("got %v, want code 504 without a delay", err)
		}
	}
}
