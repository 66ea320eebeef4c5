package replicas

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestScaleByRequests sends requests to a virtual cluster that holds a target of requests per
// second. It gets three replicas, and has one again when the requests end. Its own requests and
// watches do not count.
func TestScaleByRequests(t *testing.T) {
	t.Parallel()
	server, files := startSecured(t)
	values := externalValues(server.Endpoint(), files)
	controlPlane := values["controlPlane"].(map[string]any)
	maps.Copy(controlPlane, map[string]any{"statefulSet": map[string]any{"autoscaling": map[string]any{
		"enabled": true, "targetRequestsPerSecond": 2, // A busy machine answers few requests.
		"behavior": map[string]any{"scaleDown": map[string]any{"stabilizationWindowSeconds": 0}},
	}}})
	w := newWorld(t, setup{values: values, replicas: 1})
	stop := w.sendRequests(t)
	w.awaitReady(t, 3)
	stop()
	w.awaitReady(t, 1)
	eventually(t, "events tell of both changes", func(ctx context.Context) error {
		events, err := w.host.Client().CoreV1().Events("shop").List(ctx, metav1.ListOptions{FieldSelector: "reason=Scaled"})
		if err == nil && len(events.Items) < 2 {
			err = fmt.Errorf("there are %d", len(events.Items))
		}
		return err
	})
}

// sendRequests sends some hundred requests per second until stop is called.
func (w *world) sendRequests(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 40 { // A busy server answers each of them late.
		clients.Go(func() {
			ticker := time.NewTicker(100 * time.Millisecond)
			defer ticker.Stop()
			for ctx.Err() == nil {
				if client := w.pick(); client != nil {
					limited, end := context.WithTimeout(ctx, 5*time.Second)
					_, _ = client.CoreV1().Namespaces().Get(limited, metav1.NamespaceDefault, metav1.GetOptions{})
					end()
				}
				select {
				case <-ctx.Done():
				case <-ticker.C:
				}
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		clients.Wait()
	})
	t.Cleanup(stop)
	return stop
}
