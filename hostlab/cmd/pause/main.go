// Command pause keeps the namespaces of a pod. It waits until it gets a signal, and
// reaps orphans where it is the first process.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for pid := 1; pid > 0; {
			var status syscall.WaitStatus
			pid, _ = syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		}
	}
}
