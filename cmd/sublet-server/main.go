// Command sublet-server is a virtual cluster: API server, controllers, store, DNS
// and the syncer to its host, in one process.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // CronJobs may name a time zone, and the image has no files

	"github.com/sublet-dev/sublet/pkg/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := app.Command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "sublet-server: %v\n", err)
		os.Exit(1)
	}
}
