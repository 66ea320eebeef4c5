//go:build !linux

package tenant

import "syscall"

// setParentDeathSignal keeps Ctrl-C from the child, which this process stops itself. Only Linux
// can end the child when this process is killed.
func setParentDeathSignal() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
