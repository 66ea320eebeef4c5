// Command holder keeps the mount and network namespace of a host's node alive. It is
// started in fresh ones, prepares them, reports by a file that they are ready, and
// waits. Every daemon of the node enters them. When the last of them has ended, the
// kernel removes all mounts, routes, bridges and firewall rules in there. So nothing is
// left to undo.
//
//	holder --ready FILE --cgroups DIR [--ipv6] [--bind FROM:TO]...
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

type binds []string

func (b *binds) String() string     { return strings.Join(*b, ",") }
func (b *binds) Set(s string) error { *b = append(*b, s); return nil }

func main() {
	var mounts binds
	ready := flag.String("ready", "", "file to write when the namespaces are ready")
	cgroups := flag.String("cgroups", "", "empty folder to carry the cgroup mounts over with")
	flag.Var(&mounts, "bind", "FROM:TO, a folder to show at another place")
	ipv6 := flag.Bool("ipv6", false, "set up IPv6 in addition to IPv4")
	flag.Parse()
	if err := prepare(*cgroups, mounts, *ipv6); err != nil {
		fmt.Fprintf(os.Stderr, "holder: %v\n", err)
		os.Exit(1)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if err := os.WriteFile(*ready, []byte("ready\n"), 0o644); err != nil {
		fmt.Fprintf(os.Stderr, "holder: cannot report: %v\n", err)
		os.Exit(1)
	}
	<-signals
}

func prepare(cgroups string, mounts binds, ipv6 bool) error {
	if err := mountOwnSysfs(cgroups); err != nil {
		return err
	}
	// Sockets and locks of containerd, its shims and iptables are our own.
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("cannot mount a /run: %w", err)
	}
	for _, m := range mounts {
		from, to, _ := strings.Cut(m, ":")
		if err := syscall.Mount(from, to, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot show %s at %s: %w", from, to, err)
		}
	}
	// Volumes with mountPropagation Bidirectional need a shared tree.
	if err := syscall.Mount("", "/", "", syscall.MS_SHARED|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot share the mounts of the node among its pods: %w", err)
	}
	return setUpNetwork(ipv6)
}

// mountOwnSysfs mounts a /sys that shows the interfaces of our network namespace and
// carries the machine's cgroup mounts over to it, which it would hide.
func mountOwnSysfs(cgroups string) error {
	const shared = "/sys/fs/cgroup"
	if err := syscall.Mount(shared, cgroups, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot set the cgroups aside: %w", err)
	}
	if err := syscall.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("cannot mount a /sys: %w", err)
	}
	if err := syscall.Mount(cgroups, shared, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot bring the cgroups back: %w", err)
	}
	if err := syscall.Unmount(cgroups, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot remove the detour of the cgroups: %w", err)
	}
	return nil
}

func setUpNetwork(ipv6 bool) error {
	if out, err := exec.CommandContext(context.Background(), "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot set lo up: %w: %s", err, out)
	}
	disabled, forwards := "1", "0"
	if ipv6 {
		disabled, forwards = "0", "1"
	}
	for _, s := range []struct {
		key, value string
		optional   bool
	}{
		{"net/ipv4/ip_forward", "1", false},
		{"net/ipv4/conf/all/forwarding", "1", false},
		{"net/ipv6/conf/all/disable_ipv6", disabled, !ipv6},
		{"net/ipv6/conf/all/forwarding", forwards, !ipv6},
		// There only where the kernel has bridge netfilter; without it pods of
		// one node reach each other past the firewall, which is fine here.
		{"net/bridge/bridge-nf-call-iptables", "1", true},
	} {
		if err := os.WriteFile("/proc/sys/"+s.key, []byte(s.value), 0o644); err != nil && !s.optional {
			return fmt.Errorf("cannot set %s: %w", s.key, err)
		}
	}
	return nil
}
