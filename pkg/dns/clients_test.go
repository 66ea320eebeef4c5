package dns

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
)

// asker is a client with an address of its own.
type asker struct {
	dns.ResponseWriter
	remote net.Addr
}

func (a asker) RemoteAddr() net.Addr { return a.remote }

// answers is the plugin after the clients, which answers every query.
type answers struct{}

func (answers) Name() string { return "answers" }

func (answers) ServeDNS(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
	return dns.RcodeNameError, nil
}

// newAsked returns the plugin with the pods that it answers, and its clock.
func newAsked(t *testing.T, options Options) (*clients, *Pods, *clocktesting.FakeClock) {
	t.Helper()
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	options.Clock, options.Pods = clock, NewPods()
	if options.QueriesPerSecond == 0 {
		options.QueriesPerSecond = 100
	}
	c, err := newClients(options)
	if err != nil {
		t.Fatal(err)
	}
	c.next = plugin.Handler(answers{})
	return c, options.Pods, clock
}

// sendQuery sends a query, and returns the code of the answer.
func sendQuery(t *testing.T, c *clients, address string) string {
	t.Helper()
	code, err := c.ServeDNS(t.Context(), asker{remote: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))}, new(dns.Msg))
	if err != nil {
		t.Fatal(err)
	}
	return dns.RcodeToString[code]
}

// answered is the code of a query that passed. dropped is that of a query without any answer.
const (
	answered = "NXDOMAIN"
	dropped  = "NOERROR"
)

// dropNow asks as an address that stays unknown, and lets the hold end.
func dropNow(t *testing.T, c *clients, clock *clocktesting.FakeClock, address string) string {
	t.Helper()
	code := make(chan string, 1)
	go func() { code <- sendQuery(t, c, address) }()
	return eventually(t, patience, func() (string, bool) {
		select {
		case got := <-code:
			return got, true
		default:
		}
		if clock.HasWaiters() {
			clock.Step(holdTime)
		}
		return "", false
	})
}

// newPod returns a pod on a node with these addresses.
func newPod(name string, phase corev1.PodPhase, addresses ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.PodSpec{NodeName: "node-1"}}
	pod.Status.Phase = phase
	for _, ip := range addresses {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return pod
}

func TestClients(t *testing.T) {
	t.Parallel()
	c, pods, clock := newAsked(t, Options{Allowed: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28")}})
	web := newPod("web", corev1.PodRunning, "10.1.0.5", "fd00::5")
	pods.OnAdd(web, true)
	pods.OnAdd(newPod("job", corev1.PodSucceeded, "10.1.0.6"), true)
	pods.OnAdd(newPod("shares", corev1.PodRunning, "10.1.0.7"), true)
	pods.OnAdd(newPod("shares-too", corev1.PodRunning, "10.1.0.7"), true)
	pods.OnDelete(cache.DeletedFinalStateUnknown{Obj: newPod("shares", corev1.PodRunning, "10.1.0.7")})
	cases := map[string]struct{ reason, address, want string }{
		"Pod":       {"a pod of the tenant", "10.1.0.5:40000", answered},
		"PodIPv6":   {"its other address", "[fd00::5]:40000", answered},
		"Mapped":    {"the same address as a socket of both families shows it", "[::ffff:10.1.0.5]:40000", answered},
		"Shared":    {"two pods in the network of a node, one of which is gone", "10.1.0.7:40000", answered},
		"Allowed":   {"the operator names its range", "192.0.2.14:40000", answered},
		"Loopback":  {"the process itself, and who forwards a port into its pod", "127.0.0.1:40000", answered},
		"Neighbour": {"a pod of somebody else", "10.1.0.9:40000", dropped},
		"Finished":  {"the host gives the address of a finished pod to others", "10.1.0.6:40000", dropped},
		"Beyond":    {"not in the range any more", "192.0.2.16:40000", dropped},
	}
	for name, tc := range cases {
		query := sendQuery
		if tc.want == dropped {
			query = func(t *testing.T, c *clients, address string) string { return dropNow(t, c, clock, address) }
		}
		got := query(t, c, tc.address)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s\n-want, +got:\n%s", name, tc.reason, diff)
		}
	}
	pods.OnDelete(web)
	if got := dropNow(t, c, clock, "10.1.0.5:40000"); got != dropped {
		t.Errorf("the pod is gone, and its address gets %s", got)
	}
}

func TestUnknownClientIsHeld(t *testing.T) {
	t.Parallel()
	c, pods, clock := newAsked(t, Options{})
	code := make(chan string, 1)
	go func() { code <- sendQuery(t, c, "10.1.0.5:40000") }()
	eventually(t, patience, func() (struct{}, bool) { return struct{}{}, clock.HasWaiters() })
	pods.OnAdd(newPod("web", corev1.PodRunning, "10.1.0.5"), false)
	if got := <-code; got != answered {
		t.Errorf("its address became known while the query was held: got %s", got)
	}
}

// TestStrangerTakesNoPlace lets one unknown address ask often. A query of another one still
// waits, and gets its answer.
func TestStrangerTakesNoPlace(t *testing.T) {
	t.Parallel()
	c, pods, _ := newAsked(t, Options{})
	for range maxHeldEach {
		if !c.startWait(netip.MustParseAddr("10.1.0.9")) {
			t.Fatal("the first queries of an address wait")
		}
	}
	if got := sendQuery(t, c, "10.1.0.9:40000"); got != dropped {
		t.Errorf("one more query of the stranger: got %s", got)
	}
	code := make(chan string, 1)
	go func() { code <- sendQuery(t, c, "10.1.0.5:40000") }()
	pods.OnAdd(newPod("web", corev1.PodRunning, "10.1.0.5"), false)
	if got := <-code; got != answered {
		t.Errorf("a new pod: got %s", got)
	}
}

func TestClientRate(t *testing.T) {
	t.Parallel()
	c, pods, clock := newAsked(t, Options{QueriesPerSecond: 10})
	pods.OnAdd(newPod("flood", corev1.PodRunning, "10.1.0.5"), true)
	pods.OnAdd(newPod("web", corev1.PodRunning, "10.1.0.6"), true)
	count := func(address string, queries int) map[string]int {
		codes := map[string]int{}
		for range queries {
			codes[sendQuery(t, c, address)]++
		}
		return codes
	}
	if diff := cmp.Diff(map[string]int{answered: 20, dropped: 80}, count("10.1.0.5:40000", 100)); diff != "" {
		t.Errorf("twice as many at once (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{answered: 5}, count("10.1.0.6:40000", 5)); diff != "" {
		t.Errorf("another pod does not notice (-want +got):\n%s", diff)
	}
	clock.Step(time.Second)
	if diff := cmp.Diff(map[string]int{answered: 10, dropped: 10}, count("10.1.0.5:40001", 20)); diff != "" {
		t.Errorf("the next second, from another port (-want +got):\n%s", diff)
	}
}
