// Command sublet creates virtual clusters and connects to them. Named
// kubectl-sublet in the PATH, it runs as "kubectl sublet".
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/sublet-dev/sublet/pkg/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // A second Ctrl-C ends the process at once.
	code := cli.Run(ctx)
	stop()
	os.Exit(code)
}
