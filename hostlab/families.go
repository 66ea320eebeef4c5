package hostlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Addresses of the second family of a host with both.
const (
	machineIPv6   = "fd00:10:99::1"
	nodeIPv6      = "fd00:10:99::2"
	podCIDRv6     = "fd00:10:244::/56"
	nodePodCIDRv6 = "fd00:10:244::/64"
	serviceCIDRv6 = "fd00:10:96::/112"
)

// chooseFamilies decides whether the host has both address families, before anything starts. A
// host that is up keeps those that it has.
func (l *local) chooseFamilies() error {
	record := l.path("state", "dual-stack")
	_, err := os.Stat(record)
	if err == nil {
		l.dualStack = true
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if !l.dualStack {
		return nil
	}
	if _, up := l.daemons.readPIDFile("holder"); up {
		return errors.New("the host is up with one address family: stop it first with hostctl down")
	}
	return os.WriteFile(record, nil, 0o600)
}

// inFamilies returns what a setting of the host has: the value of IPv4, and that of IPv6 if the
// host has both.
func (l *local) inFamilies(v4, v6 string) string {
	if l.dualStack {
		return v4 + "," + v6
	}
	return v4
}

// nodeRangeFlag returns the flag of the controller manager with the size of a node's range.
func (l *local) nodeRangeFlag() string {
	if l.dualStack {
		return "--node-cidr-mask-size-ipv4=" + nodePodBits
	}
	return "--node-cidr-mask-size=" + nodePodBits
}

// podRanges returns the ranges that pods get an address of, one of each family.
func (l *local) podRanges() [][]map[string]any {
	ranges := [][]map[string]any{{{"subnet": nodePodCIDR}}}
	if l.dualStack {
		ranges = append(ranges, []map[string]any{{"subnet": nodePodCIDRv6}})
	}
	return ranges
}

// connectNodeByIPv6 adds the addresses and routes of the second family to the link of the node.
func (l *local) connectNodeByIPv6(ctx context.Context) error {
	if !l.dualStack {
		return nil
	}
	for _, step := range []*exec.Cmd{
		// Nobody else is on the link, so no address has to be probed first.
		exec.CommandContext(ctx, "ip", "addr", "add", machineIPv6+"/64", "dev", linkName, "nodad"),
		l.nodeCommand(ctx, "ip", "addr", "add", nodeIPv6+"/64", "dev", "eth0", "nodad"),
		l.nodeCommand(ctx, "ip", "route", "add", "default", "via", machineIPv6),
		exec.CommandContext(ctx, "ip", "route", "replace", podCIDRv6, "via", nodeIPv6),
		exec.CommandContext(ctx, "ip", "route", "replace", serviceCIDRv6, "via", nodeIPv6),
	} {
		if _, err := runForOutput(step); err != nil {
			return fmt.Errorf("cannot connect the node by IPv6: %w", err)
		}
	}
	return nil
}
