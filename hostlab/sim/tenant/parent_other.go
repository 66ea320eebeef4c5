//go:build !linux

package tenant

import "syscall"

// dieWithParent keeps Ctrl-C from the child, which this process stops itself.
// Without Linux nothing ends the child if this process is killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
