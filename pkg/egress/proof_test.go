package egress

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// newHangingWorld returns a dialer for the pods, in a bubble. Reads of host pods wait for the end of their context
// once hangs is closed.
func newHangingWorld(t *testing.T, hangs <-chan struct{}, pods ...*corev1.Pod) *world {
	t.Helper()
	w := &world{host: map[types.NamespacedName]*corev1.Pod{}}
	objects := &Objects{started: true}
	dialer, err := New(Options{
		Cluster: own(), Virtual: objects, Connect: w.connect, Clock: clock.RealClock{}, // that of the bubble
		Resolve: func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("10.1.0.5")}, nil
		},
		HostPod: func(ctx context.Context, key types.NamespacedName) (*corev1.Pod, error) {
			select {
			case <-hangs:
				<-ctx.Done()
				return nil, ctx.Err()
			default:
				return w.hostPod(ctx, key)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Dialer = dialer
	for _, pod := range pods {
		objects.OnAdd(pod, false)
		w.copyOf(pod, nil)
	}
	return w
}

// dialOnce dials an address and closes the connection.
func (w *world) dialOnce(ctx context.Context, address string) error {
	conn, err := w.DialContext(ctx, "tcp", address)
	if err == nil {
		err = conn.Close()
	}
	return err
}

// TestEndOfDialProvesNothing checks that an old proof does not count if the dial runs out of time. The host may
// respond, and may have given the address to another tenant.
func TestEndOfDialProvesNothing(t *testing.T) {
	t.Parallel()
	for name, dial := range map[string]func(context.Context, *world) error{
		"Name": func(ctx context.Context, w *world) error { return w.dialOnce(ctx, "front.example.com:443") },
		"Deadline": func(ctx context.Context, w *world) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return w.dialOnce(ctx, "10.1.0.5:443")
		},
		"Client": func(ctx context.Context, w *world) error {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return w.dialOnce(ctx, "10.1.0.5:443")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				hangs := make(chan struct{})
				w := newHangingWorld(t, hangs, newPod("front", "10.1.0.5"))
				if err := dial(t.Context(), w); err != nil {
					t.Fatalf("the address is the pod's: %v", err)
				}
				time.Sleep(freshProof) // by the fake clock of the bubble
				close(hangs)
				if err := dial(t.Context(), w); err == nil {
					t.Error("connected by an old proof, although the host was not given its time")
				}
			})
		})
	}
}
