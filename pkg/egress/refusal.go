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

// refuse returns the error for an address.
func refuse(address, detail, setting string) *RefusedError {
	return &RefusedError{Address: address, violation: policy.Violation{
		Field: "address", Value: address, Detail: "not allowed, " + detail, Setting: setting,
	}}
}

// refuseForeign returns the error for an address that is of no object of the tenant.
func refuseForeign(target netip.AddrPort) *RefusedError {
	return refuse(target.String(),
		"because the control plane connects only to running pods of this virtual cluster, directly or through its Services", cidrsSetting)
}

// refuseForbidden returns the error for an address that no setting opens.
func refuseForbidden(target netip.AddrPort) *RefusedError {
	return refuse(target.String(),
		"because the control plane never connects to loopback, link-local, multicast and reserved addresses", "")
}

// refuseName returns the error for a DNS name. It does not name the addresses behind it.
func refuseName(name string, port uint16) *RefusedError {
	return refuse(net.JoinHostPort(name, strconv.FormatUint(uint64(port), 10)),
		"because the control plane connects to no name outside of this virtual cluster", hostsSetting)
}
