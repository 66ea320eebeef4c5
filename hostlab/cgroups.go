package hostlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroupRoots returns the roots of the machine's cgroup trees: one below
// /sys/fs/cgroup per controller with version 1, or /sys/fs/cgroup itself.
func cgroupRoots(root string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{root}, nil
	}
	var found []string
	for _, controller := range []string{
		"blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls", "net_prio", "perf_event", "pids", "systemd",
		"unified", // version 2 in addition to version 1, without controllers
	} {
		if _, err := os.Stat(filepath.Join(root, controller)); err == nil {
			found = append(found, filepath.Join(root, controller))
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no cgroups are mounted below %s, without which a kubelet cannot run", root)
	}
	return found, nil
}

// makeCgroups makes the node's own child of every hierarchy; nothing above it is
// altered.
func makeCgroups(root string) error {
	roots, err := cgroupRoots(root)
	if err != nil {
		return err
	}
	for _, parent := range roots {
		child := filepath.Join(parent, cgroupName)
		if err := os.MkdirAll(child, 0o755); err != nil {
			return fmt.Errorf("cannot create a cgroup: %w", err)
		}
		if filepath.Base(parent) != "cpuset" {
			continue
		}
		// A new cpuset of version 1 is empty, and takes no process until it is filled.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(parent, file))
			if err == nil {
				err = os.WriteFile(filepath.Join(child, file), value, 0o644)
			}
			if err != nil {
				return fmt.Errorf("cannot fill %s: %w", filepath.Join(child, file), err)
			}
		}
	}
	return nil
}

// containerProcesses returns the processes in the node's cgroups: those of containers,
// and no others.
func containerProcesses(root string) ([]process, error) {
	roots, err := cgroupRoots(root)
	if err != nil {
		return nil, err
	}
	var found []process
	for _, parent := range roots {
		err := filepath.WalkDir(filepath.Join(parent, cgroupName), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.Name() != "cgroup.procs" {
				return dropGone(err)
			}
			text, err := os.ReadFile(path)
			for field := range strings.FieldsSeq(string(text)) {
				pid, _ := strconv.Atoi(field)
				if p, err := readProcess(pid); err == nil && !slices.Contains(found, p) {
					found = append(found, p)
				}
			}
			return dropGone(err)
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// dropGone drops errors of cgroups that were removed during a walk.
func dropGone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

// kill ends processes at once and waits until list names none. With hundreds of containers on a
// slow machine this takes half a minute.
func kill(ctx context.Context, what string, list func() ([]process, error)) error {
	return poll(ctx, time.Minute, "the end of "+what, func(context.Context) error {
		left, err := list()
		if err != nil {
			return err
		}
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		if len(left) > 0 {
			return fmt.Errorf("%d processes are left", len(left))
		}
		return nil
	})
}

// removeCgroups removes the node's cgroups, which are empty by now.
func removeCgroups(ctx context.Context, root string) error {
	roots, err := cgroupRoots(root)
	if err != nil {
		return err
	}
	return poll(ctx, 10*time.Second, "the end of cgroups", func(context.Context) error {
		var failed error
		for _, parent := range roots {
			var dirs []string
			_ = filepath.WalkDir(filepath.Join(parent, cgroupName), func(path string, entry fs.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for _, dir := range slices.Backward(dirs) {
				failed = errors.Join(failed, dropGone(syscall.Rmdir(dir)))
			}
		}
		return failed
	})
}

// neededSysctls returns the machine-wide settings that a kubelet changes, or needs raised:
// saved before and put back by down.
func neededSysctls() []string {
	return []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "fs/inotify/max_user_instances",
	}
}

// saveSysctls writes the present values to a file, unless it is there, and raises
// the one that is too low for many pods.
func saveSysctls(root, file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	var saved bytes.Buffer
	for _, name := range neededSysctls() {
		if value, err := os.ReadFile(filepath.Join(root, name)); err == nil {
			_, _ = fmt.Fprintf(&saved, "%s %s\n", name, bytes.TrimSpace(value))
		}
	}
	if err := os.WriteFile(file, saved.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "fs/inotify/max_user_instances"), []byte("8192"), 0o644)
}

// restoreSysctls puts the saved values back.
func restoreSysctls(root, file string) error {
	saved, err := os.ReadFile(file)
	if err != nil {
		return dropGone(err)
	}
	for line := range strings.Lines(string(saved)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if err := os.WriteFile(filepath.Join(root, name), []byte(value), 0o644); err != nil {
			return fmt.Errorf("cannot put %s back to %s: %w", name, value, err)
		}
	}
	return os.Remove(file)
}

// linkExists reports whether our end of the veth exists.
func linkExists() bool {
	_, err := os.Stat(filepath.Join("/sys/class/net", linkName))
	return err == nil
}

// removeLink removes our end of the veth, and the other with it.
func removeLink(ctx context.Context) error {
	if !linkExists() {
		return nil
	}
	_, err := runForOutput(exec.CommandContext(ctx, "ip", "link", "del", linkName))
	if !linkExists() {
		return nil // it was removed with the namespace meanwhile
	}
	return err
}
