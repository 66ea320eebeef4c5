package egress

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/sublet-dev/sublet/pkg/policy"
)

// Settings that open an address.
const (
	cidrsSetting = "policies.controlPlane.egress.allowedCIDRs"
	hostsSetting = "policies.controlPlane.egress.allowedHosts"
)

// RefusedError is the error for an address that may not be dialled. Its text is for the
// tenant.
type RefusedError struct {
	// Address is the host and the port that were asked for.
	Address string

	violation policy.Violation
}

// Error returns the address, why it may not be dialled, and the setting that decides.
func (e *RefusedError) Error() string { return policy.Message([]policy.Violation{e.violation}) }

// newRefusedError returns the error for an address. detail is why it may not be dialled, and
// setting what opens it.
func newRefusedError(address, detail, setting string) *RefusedError {
	return &RefusedError{Address: address, violation: policy.Violation{
		Field: "address", Value: address, Detail: "not allowed, " + detail, Setting: setting,
	}}
}

// newForeignError returns the error for an address that is of no object of the tenant.
func newForeignError(target netip.AddrPort) *RefusedError {
	return newRefusedError(target.String(),
		"because the control plane connects only to running pods of this virtual cluster, directly or through its Services", cidrsSetting)
}

// newForbiddenError returns the error for an address that no setting opens.
func newForbiddenError(target netip.AddrPort) *RefusedError {
	return newRefusedError(target.String(),
		"because the control plane never connects to loopback, link-local, multicast and reserved addresses", "")
}

// newNameError returns the error for a DNS name. It does not name the addresses behind it.
func newNameError(name string, port uint16) *RefusedError {
	return newRefusedError(net.JoinHostPort(name, strconv.FormatUint(uint64(port), 10)),
		"because the control plane connects to no name outside of this virtual cluster", hostsSetting)
}
