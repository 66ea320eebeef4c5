package translate

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// PodAddresses returns the addresses of a pod, each once. It returns none for a finished pod,
// because the host may have assigned them to another pod.
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

// ParseAddresses returns the IP addresses among the texts, each once. It ignores other texts.
func ParseAddresses(texts ...string) []netip.Addr {
	var addresses []netip.Addr
	for _, text := range texts {
		if address, err := netip.ParseAddr(text); err == nil && !slices.Contains(addresses, address.Unmap()) {
			addresses = append(addresses, address.Unmap())
		}
	}
	return addresses
}

// IsIPv6 reports whether an IP address is an IPv6 address.
func IsIPv6(text string) bool { return strings.Contains(text, ":") }
