package egress

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
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

// TestSilentHost checks that proofs count while the host drops packets, and how long a dial takes then.
func TestSilentHost(t *testing.T) {
	t.Parallel()
	pods := []*corev1.Pod{newPod("a", "10.1.0.5"), newPod("b", "10.1.0.6"), newPod("c", "10.1.0.7"), newPod("d", "10.1.0.8"), newPod("e", "10.1.0.9")}
	service := newService("hook", "10.96.7.7", "10.1.0.5", "10.1.0.6", "10.1.0.7", "10.1.0.8", "10.1.0.9")
	for name, tc := range map[string]struct {
		reason  string
		known   []*corev1.Pod // with a proof from before
		later   time.Duration // since that proof
		address string
		took    time.Duration
		fails   bool
	}{
		"Pod":        {reason: "the last proof counts", known: pods, later: freshProof, address: "10.1.0.5:443", took: readTimeout},
		"Fresh":      {reason: "a new one needs no read", known: pods, later: freshProof - 1, address: "10.1.0.5:443"},
		"Old":        {reason: "an old one does not count", known: pods, later: lastingProof, address: "10.1.0.5:443", took: readTimeout, fails: true},
		"NoProof":    {reason: "an address without a proof is not dialled", address: "10.1.0.5:443", took: readTimeout, fails: true},
		"Service":    {reason: "one endpoint of a Service suffices, as a webhook has seconds", known: pods, later: freshProof, address: "10.96.7.7:443", took: readTimeout},
		"NewService": {reason: "the reads of a dial have an end", address: "10.96.7.7:443", took: proveTimeout, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				hangs := make(chan struct{})
				w := newHangingWorld(t, hangs, pods...)
				w.options.Virtual.serve(t, service...)
				for _, pod := range tc.known {
					if err := w.dialOnce(t.Context(), pod.Status.PodIP+":443"); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(tc.later) // by the fake clock of the bubble
				close(hangs)
				begin := time.Now()
				err := w.dialOnce(context.WithoutCancel(t.Context()), tc.address)
				if took := time.Since(begin); (err != nil) != tc.fails || took != tc.took {
					t.Errorf("%s: got %v after %s, want an error: %t after %s", tc.reason, err, took, tc.fails, tc.took)
				}
			})
		})
	}
}

// serve adds Services and their slices, as informers do.
func (o *Objects) serve(t *testing.T, objects ...runtime.Object) {
	t.Helper()
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	services, endpoints := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	o.services, o.slices = services.Lister(), endpoints.Lister()
	for _, object := range objects {
		store := endpoints.Informer().GetStore()
		if _, ok := object.(*corev1.Service); ok {
			store = services.Informer().GetStore()
		}
		if err := store.Add(object); err != nil {
			t.Fatal(err)
		}
		o.OnAdd(object, false)
	}
}
