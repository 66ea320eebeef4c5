package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestServiceMadeAgain deletes a Service and creates it again while the host still takes
// its load balancer down.
func TestServiceMadeAgain(t *testing.T) {
	r := newRelease(t)
	e := r.startSome(t, r.allKinds(), "services")
	r.limitServices(t, "10")
	service := r.service("lb")
	service.Spec.Type = corev1.ServiceTypeLoadBalancer
	if err := r.virtual.client.Create(t.Context(), service.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	host := &corev1.Service{}
	// A copy that no reconcile has met with its virtual object is pending. The delete of such an
	// object waits for a minute: another request may be about to use the copy.
	eventually(t, "the host copy is that of the Service", func(ctx context.Context) error {
		err := r.host.client.Get(ctx, r.hostKey("lb"), host)
		if err == nil && host.Annotations[labels.VirtualUID] == labels.Pending {
			err = fmt.Errorf("it is pending")
		}
		return err
	})
	held := []byte(`{"metadata":{"finalizers":["service.kubernetes.io/load-balancer-cleanup"]}}`)
	if err := r.host.client.Patch(t.Context(), host, client.RawPatch("application/merge-patch+json", held)); err != nil {
		t.Fatal(err)
	}
	if err := r.virtual.client.Delete(t.Context(), service.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the host deletes the old Service", func(ctx context.Context) error {
		if err := r.host.client.Get(ctx, r.hostKey("lb"), host); err != nil {
			return err
		}
		if host.DeletionTimestamp == nil {
			return fmt.Errorf("it is not terminating")
		}
		return nil
	})
	// The first attempt may come before the cache has the old Service. Further ones must not
	// use up a quota of the host.
	var used [2]int64
	for i := range used {
		for range 3 {
			if _, err := e.CreateHostFirst(t.Context(), "services", service, false); !apierrors.IsServiceUnavailable(err) {
				t.Errorf("got %v, want 503", err)
			}
		}
		used[i] = r.usedServices(t)
	}
	if used[1] > used[0] { // A new count of the quota may come at any time.
		t.Errorf("a quota of the host counts %d Services after three attempts, and %d after six", used[0], used[1])
	}
	// A client that waits as the answer asks for gets its Service once the host is done.
	created := make(chan error, 1)
	again := service.DeepCopy()
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := r.virtual.client.Create(ctx, again)
		for apierrors.IsServiceUnavailable(err) { // A client repeats a request ten times only.
			err = r.virtual.client.Create(ctx, again)
		}
		created <- err
	}()
	if _, err := e.CreateHostFirst(t.Context(), "services", service, true); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("got %v, want 503", err)
	}
	free := []byte(`{"metadata":{"finalizers":null}}`)
	if err := r.host.client.Patch(t.Context(), host, client.RawPatch("application/merge-patch+json", free)); err != nil {
		t.Fatal(err)
	}
	if err := <-created; err != nil {
		t.Fatalf("the Service is made again once the host is done: %v", err)
	}
	r.sameService(t, again)
}

// limitServices creates a quota of the host for Services, and waits until it is in force.
func (r *release) limitServices(t *testing.T, number string) {
	t.Helper()
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "few"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceServices: resource.MustParse(number)}},
	}
	if err := r.host.client.Create(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	eventually(t, "quota in force", func(ctx context.Context) error {
		if err := r.host.client.Get(ctx, client.ObjectKeyFromObject(quota), quota); err != nil {
			return err
		}
		if len(quota.Status.Used) == 0 {
			return fmt.Errorf("it is not counted yet")
		}
		return nil
	})
}

// usedServices returns how many Services the quota of the host counts.
func (r *release) usedServices(t *testing.T) int64 {
	t.Helper()
	quota := &corev1.ResourceQuota{}
	if err := r.host.client.Get(t.Context(), client.ObjectKey{Namespace: r.namespace, Name: "few"}, quota); err != nil {
		t.Fatal(err)
	}
	used := quota.Status.Used[corev1.ResourceServices]
	return used.Value()
}
