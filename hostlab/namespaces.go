package hostlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// replacedFolders returns the folders of the machine that the node replaces by folders
// of its own state. Kubernetes fixes their paths, and pods mount them.
func replacedFolders() []string {
	return []string{"/var/lib/kubelet", "/var/lib/cni", "/var/log"}
}

// startHolder starts the holder of the node's namespaces, unless it runs.
func (l *local) startHolder(ctx context.Context) error {
	if _, ok := l.daemons.readPIDFile("holder"); ok {
		return nil
	}
	ready := l.path("run", "holder.ready")
	args := []string{"--ready", ready, "--cgroups", l.path("state", "cgroups")}
	dirs := []string{l.path("state", "cgroups"), l.path("state", "log", "pods"), l.path("state", "log", "containers")}
	if l.dualStack {
		args = append(args, "--ipv6")
	}
	for _, to := range replacedFolders() {
		from := l.path("state", filepath.Base(to))
		args = append(args, "--bind", from+":"+to)
		dirs = append(dirs, from)
		if err := l.mountPoint(to); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// The context must not end the holder: it outlives the process that starts it.
	command := exec.CommandContext(context.WithoutCancel(ctx), l.binary("holder"), args...)
	command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if err := l.daemons.start("holder", command); err != nil {
		return err
	}
	return poll(ctx, 10*time.Second, "the node's namespaces", func(context.Context) error {
		if _, err := os.Stat(ready); err != nil {
			return errors.Join(err, l.daemons.checkRunning("holder"))
		}
		return nil
	})
}

// mountPoint creates a folder of the machine unless it exists. It records each folder that it
// created, so that down removes it.
func (l *local) mountPoint(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	made, err := os.OpenFile(l.path("run", "made"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(made, dir)
	return errors.Join(err, made.Close())
}

// otherHost returns the folder of another host that runs on this machine, or empty. Two hosts
// would share the link, the addresses and the cgroups. The alias of the link is the folder
// of the host that created it.
func (l *local) otherHost() string {
	alias, err := os.ReadFile(filepath.Join("/sys/class/net", linkName, "ifalias"))
	other := strings.TrimSpace(string(alias))
	if err != nil || other == "" || other == l.dir {
		return ""
	}
	for _, name := range daemonNames() {
		if _, runs := daemonsIn(other).readPIDFile(name); runs {
			return other
		}
	}
	return ""
}

// connectNode connects the namespaces to the machine by a veth pair, unless it is there.
// Pods and services are reachable from the machine; nothing is forwarded from the
// node any further than the machine itself.
func (l *local) connectNode(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join("/sys/class/net", linkName)); err == nil {
		return nil
	}
	holder, ok := l.daemons.readPIDFile("holder")
	if !ok {
		return l.daemons.checkRunning("holder")
	}
	for _, step := range []*exec.Cmd{
		exec.CommandContext(ctx, "ip", "link", "add", linkName, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(holder.pid)),
		exec.CommandContext(ctx, "ip", "link", "set", linkName, "alias", l.dir),
		exec.CommandContext(ctx, "ip", "addr", "add", machineIP+"/24", "dev", linkName),
		exec.CommandContext(ctx, "ip", "link", "set", linkName, "up"),
		l.nodeCommand(ctx, "ip", "addr", "add", nodeIP+"/24", "dev", "eth0"),
		l.nodeCommand(ctx, "ip", "addr", "add", metadataIP+"/32", "dev", "lo"),
		l.nodeCommand(ctx, "ip", "link", "set", "eth0", "up"),
		// Packets for all other addresses end at the machine.
		l.nodeCommand(ctx, "ip", "route", "add", "default", "via", machineIP),
		exec.CommandContext(ctx, "ip", "route", "replace", podCIDR, "via", nodeIP),
		exec.CommandContext(ctx, "ip", "route", "replace", serviceCIDR, "via", nodeIP),
	} {
		if _, err := runForOutput(step); err != nil {
			return fmt.Errorf("cannot connect the node: %w", err)
		}
	}
	return l.connectNodeByIPv6(ctx)
}

// nodeCommand returns a command in the node's namespaces. nsenter becomes the command, so
// its pid is the command's. `ip netns exec` would hide the cgroups.
func (l *local) nodeCommand(ctx context.Context, name string, args ...string) *exec.Cmd {
	holder, _ := l.daemons.readPIDFile("holder")
	enter := []string{"--target", strconv.Itoa(holder.pid), "--mount", "--net", "--", name}
	return exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
}

// daemonProcesses returns the processes that run our binaries, but for the holder: daemons,
// and the shims that containerd leaves behind.
func (l *local) daemonProcesses() ([]process, error) {
	holder, _ := l.daemons.readPIDFile("holder")
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == holder.pid {
			continue
		}
		program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil || !strings.HasPrefix(program, l.path("bin")+"/") {
			continue
		}
		if p, err := readProcess(pid); err == nil {
			found = append(found, p)
		}
	}
	return found, nil
}
