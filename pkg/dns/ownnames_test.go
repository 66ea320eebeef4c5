package dns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// newNamedPod returns a pod of namespace shop with addresses.
func newNamedPod(name string, spec corev1.PodSpec, addresses ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: spec}
	for _, address := range addresses {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: address})
	}
	return pod
}

// TestOwnNames asks as a pod with the address 127.0.0.1.
func TestOwnNames(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		pod    *corev1.Pod
		name   string
		kind   uint16
		want   answer
	}{
		"Own": {
			"A pod knows its own name although no Service has it.",
			newNamedPod("web-0", corev1.PodSpec{Subdomain: "web"}, "127.0.0.1"), "web-0.web.shop.svc.shop.local.", dns.TypeA,
			answer{Code: "NOERROR", Records: []string{"web-0.web.shop.svc.shop.local. A 127.0.0.1"}},
		},
		"Hostname": {
			"The host name counts before the name of the pod, in any case.",
			newNamedPod("web-0", corev1.PodSpec{Subdomain: "web", Hostname: "first"}, "127.0.0.1"), "First.Web.shop.svc.shop.local.", dns.TypeA,
			answer{Code: "NOERROR", Records: []string{"First.Web.shop.svc.shop.local. A 127.0.0.1"}},
		},
		"Long": {
			"A kubelet truncates the name of the pod to what a host name may have.",
			newNamedPod(strings.Repeat("a", 62)+"-0", corev1.PodSpec{Subdomain: "web"}, "127.0.0.1"), strings.Repeat("a", 62) + ".web.shop.svc.shop.local.", dns.TypeA,
			answer{Code: "NOERROR", Records: []string{strings.Repeat("a", 62) + ".web.shop.svc.shop.local. A 127.0.0.1"}},
		},
		"Families": {
			"Each family has its address, whatever the family of the query.",
			newNamedPod("web-0", corev1.PodSpec{Subdomain: "web"}, "127.0.0.1", "fd00::7"), "web-0.web.shop.svc.shop.local.", dns.TypeAAAA,
			answer{Code: "NOERROR", Records: []string{"web-0.web.shop.svc.shop.local. AAAA fd00::7"}},
		},
		"Family": {
			"The name exists in a family without an address.",
			newNamedPod("web-0", corev1.PodSpec{Subdomain: "web"}, "127.0.0.1"), "web-0.web.shop.svc.shop.local.", dns.TypeAAAA,
			answer{Code: "NOERROR"},
		},
		"Short": {
			"A pod without a subdomain has no full name.",
			newNamedPod("web-0", corev1.PodSpec{}, "127.0.0.1"), "web-0.web.shop.svc.shop.local.", dns.TypeA,
			answer{Code: "NXDOMAIN"},
		},
		"Other": {
			"Nobody else gets the answer.",
			newNamedPod("web-0", corev1.PodSpec{Subdomain: "web"}, "10.1.0.9"), "web-0.web.shop.svc.shop.local.", dns.TypeA,
			answer{Code: "NXDOMAIN"},
		},
		"HostNetwork": {
			"Pods in the network of the node share its address.",
			newNamedPod("web-0", corev1.PodSpec{Subdomain: "web", HostNetwork: true}, "127.0.0.1"), "web-0.web.shop.svc.shop.local.", dns.TypeA,
			answer{Code: "NXDOMAIN"},
		},
		"Service": {
			"All other names are as before.",
			newNamedPod("web-0", corev1.PodSpec{Subdomain: "web"}, "127.0.0.1"), "front.shop.svc.shop.local.", dns.TypeA,
			answer{Code: "NOERROR", Records: []string{"front.shop.svc.shop.local. A 10.96.3.4"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pods := NewPods()
			pods.OnAdd(tc.pod, true)
			s, _ := startServer(t, Options{Virtual: newShop(t).config(), ClusterDomain: "shop.local", Pods: pods})
			awaitReady(t, s)
			if diff := cmp.Diff(tc.want, lookup(t, s.Addr(), "udp", tc.name, tc.kind)); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
			pods.OnDelete(tc.pod)
			if _, named := pods.withFullName(netip.MustParseAddr("127.0.0.1")); named {
				t.Errorf("%s: a pod that is gone still has a name", tc.reason)
			}
		})
	}
}

// TestOwnNameOfAReusedAddress shows that the end of an older pod does not take the name of a
// newer one with its address.
func TestOwnNameOfAReusedAddress(t *testing.T) {
	t.Parallel()
	pods := NewPods()
	older := newNamedPod("older", corev1.PodSpec{Subdomain: "web"}, "10.1.0.9")
	newer := newNamedPod("newer", corev1.PodSpec{Subdomain: "web"}, "10.1.0.9")
	pods.OnAdd(older, true)
	pods.OnAdd(newer, true)
	pods.OnDelete(older)
	if got, _ := pods.withFullName(netip.MustParseAddr("10.1.0.9")); got.name != "newer.web.shop" {
		t.Errorf("the address has the name %q, want newer.web.shop", got.name)
	}
}
