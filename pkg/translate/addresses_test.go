package translate

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestPodAddresses(t *testing.T) {
	t.Parallel()
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for _, c := range []struct {
		reason string
		status corev1.PodStatus
		want   []netip.Addr
	}{
		{"a pod without an address", corev1.PodStatus{}, nil},
		{"each address once", corev1.PodStatus{PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}}}, []netip.Addr{v4, v6}},
		{"an IPv4 address in another form", corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "::ffff:10.0.0.1"}}}, []netip.Addr{v4}},
		{"what is no address", corev1.PodStatus{PodIP: "host", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}}}, []netip.Addr{v4}},
		{"the host may have given it to another pod", corev1.PodStatus{Phase: corev1.PodFailed, PodIP: "10.0.0.1"}, nil},
	} {
		got := PodAddresses(&corev1.Pod{Status: c.status})
		if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}
