package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/translate"
	"github.com/sublet-dev/sublet/test/await"
)

// own returns the virtual cluster of the tests.
func own() translate.Cluster {
	return translate.Cluster{UID: "6d1f", Name: "shop", Namespace: "tenant-shop"}
}

// world is a dialer between a virtual cluster and a host that tests fill.
type world struct {
	*Dialer
	clock *clocktesting.FakeClock

	mu    sync.Mutex
	host  map[types.NamespacedName]*corev1.Pod
	fails error
	reads int
	// dialled are the addresses of the connections that were opened.
	dialled []string
}

// newWorld starts a dialer over the virtual objects.
func newWorld(t *testing.T, change func(*Options), virtual ...runtime.Object) *world {
	t.Helper()
	w := &world{host: map[types.NamespacedName]*corev1.Pod{}, clock: clocktesting.NewFakeClock(time.Unix(0, 0))}
	objects := &Objects{}
	options := Options{
		Cluster: own(), Virtual: objects, HostPod: w.hostPod, Connect: w.connect, Clock: w.clock,
		Closed:        []netip.Addr{netip.MustParseAddr("10.96.0.1")},
		ServiceRanges: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		Resolve: func(_ context.Context, _, host string) ([]netip.Addr, error) {
			addresses, ok := map[string][]netip.Addr{
				"loopback.example.com.": {netip.MustParseAddr("127.0.0.1")},
				"hooks.example.com.":    {netip.MustParseAddr("93.184.216.34")},
				"inner.example.com.":    {netip.MustParseAddr("::ffff:192.168.3.4")},
				"mixed.example.com.":    {netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("10.1.0.5")},
			}[host]
			if !ok {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return addresses, nil
		},
	}
	if change != nil {
		change(&options)
	}
	dialer, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	w.Dialer = dialer
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	t.Cleanup(func() { cancel(); watching.Wait() })
	factory := informers.NewSharedInformerFactory(fake.NewClientset(virtual...), 0)
	watching.Go(func() {
		if err := objects.Watch(ctx, factory, ctx.Done()); err != nil {
			t.Error(err)
		}
	})
	for {
		next, started := objects.nextChange()
		if started {
			return w
		}
		select {
		case <-next:
		case <-time.After(time.Millisecond):
		}
	}
}

func (w *world) hostPod(_ context.Context, key types.NamespacedName) (*corev1.Pod, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	if w.fails != nil {
		return nil, w.fails
	}
	if pod, ok := w.host[key]; ok {
		return pod, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("pods"), key.Name)
}

func (w *world) connect(_ context.Context, address netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dialled = append(w.dialled, address.String())
	client, server := net.Pipe()
	_ = server.Close()
	return client, nil
}

// copyOf adds the host copy of a virtual pod.
func (w *world) copyOf(virtual *corev1.Pod, change func(*corev1.Pod)) {
	host := virtual.DeepCopy()
	host.ObjectMeta = metav1.ObjectMeta{}
	key := types.NamespacedName{Namespace: virtual.Namespace, Name: virtual.Name}
	translate.Stamp(own(), translate.Hashed, key, virtual.UID, host)
	name := types.NamespacedName{Namespace: host.Namespace, Name: host.Name}
	if change != nil {
		change(host)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.host[name] = host
}

// dialAndSettle returns what a dial has connected to, and the text of its error. It lets the
// time to settle pass.
func (w *world) dialAndSettle(t *testing.T, address string) (connected []string, text string) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		conn, err := w.DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		done <- err
	}()
	for {
		select {
		case err := <-done:
			w.mu.Lock()
			defer w.mu.Unlock()
			connected, w.dialled = w.dialled, nil
			if err != nil {
				text = err.Error()
			}
			return connected, text
		case <-time.After(time.Millisecond):
			if w.clock.HasWaiters() {
				w.clock.Step(settleTime)
			}
		}
	}
}

func newPod(name, ip string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name, UID: types.UID("uid-" + name)},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, HostIP: "192.168.1.1"},
	}
}

func newService(name, ip string, addresses ...string) []runtime.Object {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		Ports:      []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(8443))}},
	}
	for _, address := range addresses {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	return []runtime.Object{&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Name: "https", Port: 443}}},
	}, slice}
}

// withConditions gives the endpoints of a Service the conditions of a pod that ends.
func withConditions(objects []runtime.Object, serves bool) []runtime.Object {
	for _, object := range objects {
		if slice, ok := object.(*discoveryv1.EndpointSlice); ok {
			for i := range slice.Endpoints {
				slice.Endpoints[i].Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(serves), Terminating: new(true)}
			}
		}
	}
	return objects
}

// withUDP gives a Service the ports 443 and 53 of UDP, in front of its port of TCP.
func withUDP(objects []runtime.Object) []runtime.Object {
	for _, object := range objects {
		switch object := object.(type) {
		case *corev1.Service:
			object.Spec.Ports = append([]corev1.ServicePort{
				{Name: "quic", Port: 443, Protocol: corev1.ProtocolUDP}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
			}, object.Spec.Ports...)
		case *discoveryv1.EndpointSlice:
			object.Ports = append([]discoveryv1.EndpointPort{
				{Name: new("quic"), Port: new(int32(9443)), Protocol: new(corev1.ProtocolUDP)},
				{Name: new("dns"), Port: new(int32(1053)), Protocol: new(corev1.ProtocolUDP)},
			}, object.Ports...)
		}
	}
	return objects
}

// awaitTimer waits until somebody waits for the clock.
func awaitTimer(t *testing.T, clock *clocktesting.FakeClock) {
	t.Helper()
	await.Until(t, "a timer", func(context.Context) error {
		if !clock.HasWaiters() {
			return errors.New("nobody waits for the clock")
		}
		return nil
	})
}
