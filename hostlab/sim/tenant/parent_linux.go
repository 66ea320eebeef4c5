package tenant

import "syscall"

// setParentDeathSignal makes the kernel kill the child when this process dies, however
// it dies.
func setParentDeathSignal() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
