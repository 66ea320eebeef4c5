package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestServiceMadeAgain deletes a Service and creates it again while the host still takes
// its load balancer down.
func TestServiceMadeAgain(t *testing.T) {
	r := newRelease(t)
	e := r.startSome(t, r.allKinds(), "services")
	service := r.service("lb")
	service.Spec.Type = corev1.ServiceTypeLoadBalancer
	if err := r.virtual.client.Create(t.Context(), service.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	host := &corev1.Service{}
	if err := r.host.client.Get(t.Context(), r.hostKey("lb"), host); err != nil {
		t.Fatal(err)
	}
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
	// A client that waits as the answer asks for gets its Service once the host is done.
	created := make(chan error, 1)
	again := service.DeepCopy()
	go func() { created <- r.virtual.client.Create(t.Context(), again) }()
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
