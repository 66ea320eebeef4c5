package app

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // logging.encoding: json
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// gcPercent makes the garbage collector run when the heap has grown by half. The
// default of doubling costs some 30 MB more for hardly any less CPU at rest.
const gcPercent = 50

// settle is how long after the start the memory of the start is given back to
// the machine.
const settle = 15 * time.Second

// prepareProcess sets what there is one of in a process: the log and the garbage
// collector.
func prepareProcess(logging v1alpha1.Logging) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	options := logs.NewOptions()
	options.Verbosity = logsapi.VerbosityLevel(logging.Verbosity)
	if logging.Encoding == "json" {
		options.Format = logsapi.JSONLogFormat
	}
	// Kubernetes' own parts would apply it again.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	if err := logsapi.ValidateAndApply(options, nil); err != nil {
		return fmt.Errorf("cannot set up the log: %w", err)
	}
	ctrllog.SetLogger(klog.Background().V(1)) // what it starts and stops is of no use to an operator
	return nil
}

// releaseMemory gives the memory that only the start needed back to the machine,
// once.
func releaseMemory(ctx context.Context, c clock.Clock) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.After(settle):
	}
	debug.FreeOSMemory()
	<-ctx.Done()
	return nil
}
