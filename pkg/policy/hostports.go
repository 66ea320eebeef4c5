package policy

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// hostPortsSetting is the key of the ports of nodes.
const hostPortsSetting = "policies.pods.hostPorts"

// hostPorts returns the rule about ports of nodes that containers take.
func hostPorts(allowed []string) podRule {
	return func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
		var violations []Violation
		for _, container := range containers(spec) {
			for i, port := range container.Ports {
				if port.HostPort == 0 || isInRanges(port.HostPort, allowed) {
					continue
				}
				violations = append(violations, Violation{
					Field: at(container.path+".ports", i) + ".hostPort", Value: strconv.Itoa(int(port.HostPort)),
					Detail:  "this port of the node is not allowed; allowed: " + orNone(allowed),
					Setting: hostPortsSetting,
				})
			}
		}
		return violations
	}
}

// isInRanges reports whether one of the ranges has the port. A range is a port, or the first
// and the last one with a hyphen between them.
func isInRanges(port int32, ranges []string) bool {
	for _, text := range ranges {
		first, last, isRange := strings.Cut(text, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, errTo := strconv.Atoi(last)
		if err == nil && errTo == nil && from <= int(port) && int(port) <= to {
			return true
		}
	}
	return false
}
