package translate

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// PodAddresses returns the addresses of a pod, each once. A finished pod has none any more:
// the host may give them to somebody else.
func PodAddresses(pod *corev1.Pod) []netip.Addr {
	if IsFinished(pod) {
		return nil
	}
	texts := []string{pod.Status.PodIP}
	for _, ip := range pod.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	return ParseAddresses(texts...)
}

// ParseAddresses returns those of the texts that are addresses, each once.
func ParseAddresses(texts ...string) []netip.Addr {
	var addresses []netip.Addr
	for _, text := range texts {
		if address, err := netip.ParseAddr(text); err == nil && !slices.Contains(addresses, address.Unmap()) {
			addresses = append(addresses, address.Unmap())
		}
	}
	return addresses
}
