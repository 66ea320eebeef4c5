package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
)

const (
	onlyPods  = `not allowed, because the control plane connects only to running pods of this virtual cluster, directly or through its Services. The operator of the host can change this with policies.controlPlane.egress.allowedCIDRs.`
	noNames   = `not allowed, because the control plane connects to no name outside of this virtual cluster. The operator of the host can change this with policies.controlPlane.egress.allowedHosts.`
	forbidden = `not allowed, because the control plane never connects to loopback, link-local, multicast and reserved addresses`
)

// TestDial checks where the dialer connects to, and what a tenant reads if it does not.
func TestDial(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		options func(*Options)
		virtual []runtime.Object
		host    func(*corev1.Pod) // changes the copy of the pod of the virtual objects
		noCopy  bool
		address string
		want    string // the address that is dialled
		wantErr string
	}{
		"Pod": {
			reason:  "a pod of the tenant is what the proxy of pods is for",
			virtual: []runtime.Object{newPod("front", "10.1.0.5")}, address: "10.1.0.5:8080", want: "10.1.0.5:8080",
		},
		"PodIPv6": {
			reason:  "an address of the second family is the pod's too",
			virtual: []runtime.Object{newPod("front", "fd00:1::5")}, address: "[fd00:1::5]:8080", want: "[fd00:1::5]:8080",
		},
		"MappedPod": {
			reason:  "an IPv4 address in the form of IPv6 is the same address",
			virtual: []runtime.Object{newPod("front", "10.1.0.5")}, address: "[::ffff:10.1.0.5]:8080", want: "10.1.0.5:8080",
		},
		"ForgedStatus": {
			reason:  "the host pod decides, not the status that a tenant writes",
			virtual: []runtime.Object{newPod("front", "10.1.0.9")}, host: func(p *corev1.Pod) { p.Status = newPod("", "10.1.0.5").Status },
			address: "10.1.0.9:443", wantErr: `address: "10.1.0.9:443": ` + onlyPods,
		},
		"MirrorPod": {
			reason:  "a pod without a copy proves nothing",
			virtual: []runtime.Object{newPod("front", "10.1.0.9")}, noCopy: true,
			address: "10.1.0.9:443", wantErr: `address: "10.1.0.9:443": ` + onlyPods,
		},
		"OtherTenantsPod": {
			reason:  "a host pod with the name that is not our copy proves nothing",
			virtual: []runtime.Object{newPod("front", "10.1.0.5")}, host: func(p *corev1.Pod) { p.Labels = nil },
			address: "10.1.0.5:443", wantErr: `address: "10.1.0.5:443": ` + onlyPods,
		},
		"HostNetwork": {
			reason:  "the address of a pod on its node's network is the node's",
			virtual: []runtime.Object{newPod("front", "192.168.1.1")}, host: func(p *corev1.Pod) { p.Spec.HostNetwork = true },
			address: "192.168.1.1:10250", wantErr: `address: "192.168.1.1:10250": ` + onlyPods,
		},
		"NodeAddress": {
			reason:  "the same, if the pod does not say that it uses the node's network",
			virtual: []runtime.Object{newPod("front", "192.168.1.1")},
			address: "192.168.1.1:10250", wantErr: `address: "192.168.1.1:10250": ` + onlyPods,
		},
		"Finished": {
			reason:  "the host may have given the address to another pod",
			virtual: []runtime.Object{newPod("front", "10.1.0.5")}, host: func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded },
			address: "10.1.0.5:443", wantErr: `address: "10.1.0.5:443": ` + onlyPods,
		},
		"NobodysAddress": {
			reason:  "an address of another tenant is not dialled",
			address: "10.1.0.77:443", wantErr: `address: "10.1.0.77:443": ` + onlyPods,
		},
		"Service": {
			reason:  "a Service is dialled at one of its pods, so that nothing on the way decides again",
			virtual: append(newService("hook", "10.96.7.7", "10.1.0.5"), newPod("front", "10.1.0.5")),
			address: "10.96.7.7:443", want: "10.1.0.5:8443",
		},
		"ServiceWithForeignEndpoint": {
			reason:  "an EndpointSlice that a tenant writes opens no address",
			virtual: newService("hook", "10.96.7.7", "10.1.0.77"),
			address: "10.96.7.7:443", wantErr: `address: "10.1.0.77:8443": ` + onlyPods,
		},
		"ServiceWithOneForeignEndpoint": {
			reason:  "the good endpoints of a Service are used",
			virtual: append(newService("hook", "10.96.7.7", "10.1.0.77", "10.1.0.5"), newPod("front", "10.1.0.5")),
			address: "10.96.7.7:443", want: "10.1.0.5:8443",
		},
		"ServiceWithMetadataEndpoint": {
			reason:  "no endpoint is a link-local address",
			virtual: newService("hook", "10.96.7.7", "169.254.169.254"),
			address: "10.96.7.7:443", wantErr: `address: "169.254.169.254:8443": ` + forbidden,
		},
		"ServiceThatLeaves": {
			reason:  "a webhook with one pod serves until that has ended",
			virtual: append(withConditions(newService("hook", "10.96.7.7", "10.1.0.5"), true), newPod("front", "10.1.0.5")),
			address: "10.96.7.7:443", want: "10.1.0.5:8443",
		},
		"ServiceThatHasLeft": {
			reason:  "a pod that ends and serves no more is none",
			virtual: append(withConditions(newService("hook", "10.96.7.7", "10.1.0.5"), false), newPod("front", "10.1.0.5")),
			address: "10.96.7.7:443", wantErr: "cannot connect to Service web/hook: it has no ready endpoint for port 443",
		},
		"ServiceWithUDP": {
			reason:  "the port of UDP with the same number leads elsewhere",
			virtual: append(withUDP(newService("hook", "10.96.7.7", "10.1.0.5")), newPod("front", "10.1.0.5")),
			address: "10.96.7.7:443", want: "10.1.0.5:8443",
		},
		"ServiceOfUDP": {
			reason:  "a port of UDP is none of TCP",
			virtual: append(withUDP(newService("hook", "10.96.7.7", "10.1.0.5")), newPod("front", "10.1.0.5")),
			address: "10.96.7.7:53", wantErr: "cannot connect to Service web/hook: it has no ready endpoint for port 53",
		},
		"ServiceWithoutEndpoints": {
			reason:  "a Service without pods is no refusal",
			virtual: newService("hook", "10.96.7.7"),
			address: "10.96.7.7:443", wantErr: "cannot connect to Service web/hook: it has no ready endpoint for port 443",
		},
		"OwnService": {
			reason:  "the API server is not reached through its own Service",
			virtual: newService("kubernetes", "10.96.0.1", "10.1.0.2"),
			address: "10.96.0.1:443", wantErr: `address: "10.96.0.1:443": ` + onlyPods,
		},
		"Loopback":     {reason: "loopback has the ports of the process", address: "127.0.0.1:8444", wantErr: `address: "127.0.0.1:8444": ` + forbidden},
		"LoopbackIPv6": {reason: "the same in IPv6", address: "[::1]:8444", wantErr: `address: "[::1]:8444": ` + forbidden},
		"Mapped":       {reason: "the same, mapped", address: "[::ffff:127.0.0.1]:1", wantErr: `address: "127.0.0.1:1": ` + forbidden},
		"NAT64":        {reason: "a translator would send it to link-local", address: "[64:ff9b::a9fe:a9fe]:80", wantErr: `address: "[64:ff9b::a9fe:a9fe]:80": ` + forbidden},
		"NAT64Closed": {
			reason: "a translator would send it to the host's API server", address: "[64:ff9b::a60:1]:443", wantErr: `address: "[64:ff9b::a60:1]:443": ` + onlyPods,
			options: allowCIDRs("::/0"),
		},
		"Unspecified":   {reason: "it is this host", address: "0.0.0.0:8443", wantErr: `address: "0.0.0.0:8443": ` + forbidden},
		"Metadata":      {reason: "it has credentials of the node", address: "169.254.169.254:80", wantErr: `address: "169.254.169.254:80": ` + forbidden},
		"MetadataIPv6":  {reason: "it has credentials of the node", address: "[fd00:ec2::254]:80", wantErr: `address: "[fd00:ec2::254]:80": ` + forbidden},
		"Zone":          {reason: "a zone names an interface of the node", address: "[fe80::1%eth0]:80", wantErr: `address: "[fe80::1%eth0]:80": ` + forbidden},
		"Multicast":     {reason: "it is for no single server", address: "224.0.0.1:80", wantErr: `address: "224.0.0.1:80": ` + forbidden},
		"Broadcast":     {reason: "it is for no single server", address: "255.255.255.255:80", wantErr: `address: "255.255.255.255:80": ` + forbidden},
		"NameLoopback":  {reason: "a name is judged by its addresses", address: "loopback.example.com:443", wantErr: `address: "loopback.example.com:443": ` + noNames},
		"NameUnknown":   {reason: "a tenant cannot learn which names exist", address: "db.other.svc:443", wantErr: `address: "db.other.svc:443": ` + noNames},
		"NamePublic":    {reason: "the internet is closed unless a name is listed", address: "hooks.example.com:443", wantErr: `address: "hooks.example.com:443": ` + noNames},
		"OddIPv4":       {reason: "an address in another notation is a name", address: "0177.0.0.1:80", wantErr: `address: "0177.0.0.1:80": ` + noNames},
		"NameOfPod":     {reason: "a name of the tenant's own pod is as good as its address", virtual: []runtime.Object{newPod("front", "10.1.0.5")}, address: "mixed.example.com:443", want: "10.1.0.5:443"},
		"ListedHost":    {reason: "the operator opens names", options: allowHosts("hooks.example.com"), address: "Hooks.example.com.:443", want: "93.184.216.34:443"},
		"ListedInner":   {reason: "a listed name opens public addresses alone", options: allowHosts("inner.example.com"), address: "inner.example.com:443", wantErr: `address: "inner.example.com:443": ` + noNames},
		"ListedMissing": {reason: "of a listed name the real error is told", options: allowHosts("gone.example.com"), address: "gone.example.com:443", wantErr: "cannot resolve gone.example.com: lookup gone.example.com.: no such host"},
		"ListedRange":   {reason: "the operator opens ranges", options: allowCIDRs("192.168.3.0/24"), address: "192.168.3.4:443", want: "192.168.3.4:443"},
		"ListedName":    {reason: "a name in a listed range is open", options: allowCIDRs("192.168.3.0/24"), address: "inner.example.com:443", want: "192.168.3.4:443"},
		"AllListed":     {reason: "a wide range does not open other tenants' Services", options: allowCIDRs("0.0.0.0/0"), address: "10.96.3.3:443", wantErr: `address: "10.96.3.3:443": ` + onlyPods},
		"ListedService": {reason: "an entry about one Service does", options: allowCIDRs("10.96.3.3/32"), address: "10.96.3.3:443", want: "10.96.3.3:443"},
		"ListedHostAPI": {reason: "the host's API server is open to no setting", options: allowCIDRs("10.96.0.1/32"), address: "10.96.0.1:443", wantErr: `address: "10.96.0.1:443": ` + onlyPods},
		"ListedLoopback": {
			reason: "loopback is open to no setting", options: allowCIDRs("127.0.0.0/8"),
			address: "127.0.0.1:443", wantErr: `address: "127.0.0.1:443": ` + forbidden,
		},
		"NoPort": {reason: "an address without a port is a mistake", address: "10.1.0.5", wantErr: "cannot connect to 10.1.0.5: address 10.1.0.5: missing port in address"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tc.options, tc.virtual...)
			for _, object := range tc.virtual {
				if pod, ok := object.(*corev1.Pod); ok && !tc.noCopy {
					w.copyOf(pod, tc.host)
				}
			}
			connected, text := w.dialAndSettle(t, tc.address)
			if diff := cmp.Diff(tc.wantErr, text); diff != "" {
				t.Errorf("%s\nerror (-want +got):\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.want, strings.Join(connected, " ")); diff != "" {
				t.Errorf("%s\ndialled (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func allowHosts(hosts ...string) func(*Options) {
	return func(o *Options) { o.AllowedHosts = hosts }
}

func allowCIDRs(cidr string) func(*Options) {
	return func(o *Options) { o.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix(cidr)} }
}

// TestStart checks that a dial before the objects are known is told to try again.
func TestStart(t *testing.T) {
	t.Parallel()
	w := &world{}
	dialer, err := New(Options{Cluster: own(), Virtual: &Objects{}, HostPod: w.hostPod, Connect: w.connect})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = dialer.DialContext(t.Context(), "tcp", "10.1.0.5:443"); !errors.Is(err, errNotStarted) {
		t.Errorf("got %v, want %v", err, errNotStarted)
	}
}

// TestLateAddress checks that a dial waits for a pod that the cache does not show yet.
func TestLateAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	pod := newPod("front", "10.1.0.5")
	w.copyOf(pod, nil)
	done := make(chan error, 1)
	go func() {
		_, err := w.DialContext(t.Context(), "tcp", "10.1.0.5:443")
		done <- err
	}()
	awaitTimer(t, w.clock)
	w.options.Virtual.OnAdd(pod, false)
	if err := <-done; err != nil {
		t.Errorf("got %v, want a connection without waiting for the end of the time", err)
	}
}

// TestProofs checks how long the dialer relies on what the host has said.
func TestProofs(t *testing.T) {
	t.Parallel()
	pod := newPod("front", "10.1.0.5")
	w := newWorld(t, nil, pod)
	w.copyOf(pod, nil)
	outage := apierrors.NewServiceUnavailable("down")
	const silent = "cannot connect to 10.1.0.5:443: the host cluster does not respond; try again later"
	for _, step := range []struct {
		reason  string
		before  func()
		reads   int
		wantErr string
	}{
		{"The first dial reads the host pod.", func() {}, 1, ""},
		{"One soon after does not.", func() { w.clock.Step(freshProof - 1) }, 0, ""},
		{"Then the host is asked again.", func() { w.clock.Step(freshProof) }, 1, ""},
		{"While it does not respond, the last proof counts.", func() { w.clock.Step(time.Minute); w.fails = outage }, 1, ""},
		{"But not for ever.", func() { w.clock.Step(lastingProof) }, 1, silent},
		{"A pod that is gone has no address.", func() { w.fails = nil; clear(w.host) }, 1, `address: "10.1.0.5:443": ` + onlyPods},
		{"An outage after that revives nothing.", func() { w.fails = outage }, 1, silent},
	} {
		w.mu.Lock()
		step.before()
		w.reads = 0
		w.mu.Unlock()
		_, text := w.dialAndSettle(t, "10.1.0.5:443")
		if text != step.wantErr || w.reads != step.reads {
			t.Errorf("%s\ngot %q and %d reads, want %q and %d", step.reason, text, w.reads, step.wantErr, step.reads)
		}
	}
}

// TestMetrics checks that dials are counted by their result.
func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := metrics.NewKubeRegistry()
	pod := newPod("front", "10.1.0.5")
	w := newWorld(t, func(o *Options) { o.Register = registry.Register }, pod)
	w.copyOf(pod, nil)
	for _, address := range []string{"10.1.0.5:80", "127.0.0.1:80", "127.0.0.1:81", "nowhere"} {
		_, _ = w.dialAndSettle(t, address)
	}
	want := `
# HELP sublet_egress_dials_total [ALPHA] Connections that the API server opened on behalf of the tenant, by result: connected, failed, or refused by policies.controlPlane.egress.
# TYPE sublet_egress_dials_total counter
sublet_egress_dials_total{result="connected"} 1
sublet_egress_dials_total{result="failed"} 1
sublet_egress_dials_total{result="refused"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "sublet_egress_dials_total"); err != nil {
		t.Error(err)
	}
}

// TestGone checks that the addresses of deleted and changed objects are forgotten.
func TestGone(t *testing.T) {
	t.Parallel()
	objects := &Objects{}
	pod := newPod("front", "10.1.0.5")
	objects.OnAdd(pod, false)
	moved := newPod("front", "10.1.0.6")
	objects.OnUpdate(pod, moved)
	if found := objects.ownersOf(netip.MustParseAddr("10.1.0.5")); len(found.pods) > 0 {
		t.Errorf("the old address still has %v", found.pods)
	}
	objects.OnDelete(moved)
	if len(objects.owned)+len(objects.owners) > 0 {
		t.Errorf("left over: %v, %v", objects.owned, objects.owners)
	}
}

// TestRefusedNamesTakeTheSameTime checks that a tenant cannot measure which names the host has, nor where they lead.
func TestRefusedNamesTakeTheSameTime(t *testing.T) {
	t.Parallel()
	resolve := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		switch host {
		case "one.other.svc.":
			return []netip.Addr{netip.MustParseAddr("10.1.0.77")}, nil
		case "two.other.svc.":
			return []netip.Addr{netip.MustParseAddr("10.1.0.77"), netip.MustParseAddr("10.1.0.78")}, nil
		case "api.other.svc.":
			return []netip.Addr{netip.MustParseAddr("10.96.0.1")}, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	forged := newPod("forged", "10.1.0.77")
	for _, tc := range []struct {
		name   string
		forged []runtime.Object
	}{
		{"gone.other.svc:443", nil},
		{"one.other.svc:443", nil},
		{"one.other.svc:443", []runtime.Object{forged}},
		{"two.other.svc:443", []runtime.Object{forged}},
		{"two.other.svc:443", nil},
		{"api.other.svc:443", nil},
	} {
		w := newWorld(t, func(o *Options) { o.Resolve = resolve }, tc.forged...)
		start := w.clock.Now()
		if _, text := w.dialAndSettle(t, tc.name); !strings.Contains(text, noNames) {
			t.Errorf("%s: %s", tc.name, text)
		}
		if took := w.clock.Since(start); took != settleTime {
			t.Errorf("%s with %d forged pods: refused after %s, want %s", tc.name, len(tc.forged), took, settleTime)
		}
	}
}

// TestRefusingHostProvesNothing checks that a proof ends when the host answers, although not with the pod.
func TestRefusingHostProvesNothing(t *testing.T) {
	t.Parallel()
	pod := newPod("front", "10.1.0.5")
	w := newWorld(t, nil, pod)
	w.copyOf(pod, nil)
	w.dialAndSettle(t, "10.1.0.5:443")
	for _, refusal := range []error{
		apierrors.NewTooManyRequests("busy", 1), apierrors.NewForbidden(corev1.Resource("pods"), "x", nil), apierrors.NewUnauthorized("x"),
	} {
		w.mu.Lock()
		w.clock.Step(freshProof)
		w.fails = refusal
		w.mu.Unlock()
		if connected, _ := w.dialAndSettle(t, "10.1.0.5:443"); len(connected) > 0 {
			t.Errorf("%v: dialled %v by an old proof", refusal, connected)
		}
	}
}
