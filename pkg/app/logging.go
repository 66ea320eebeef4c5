package app

import (
	"flag"
	"fmt"
	"log"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	logsjson "k8s.io/component-base/logs/json"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// prepareProcess configures the process-wide log and garbage collector. It returns the memory
// limit of the container in bytes, 0 if it is not known.
func prepareProcess(logging v1alpha1.Logging) (memoryLimit int64, err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(startGCPercent)
	}
	if memoryLimit, err = setMemoryLimit(); err != nil {
		return 0, err
	}
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if err := flags.Set("v", strconv.Itoa(int(logging.Verbosity))); err != nil {
		return 0, fmt.Errorf("cannot set up the log: %w", err)
	}
	klog.SetLoggerWithOptions(newLogger(logging), klog.ContextualLogger(true))
	log.SetFlags(0)
	log.SetOutput(standardLog{})
	ctrllog.SetLogger(klog.Background().V(1)) // controller-runtime logs each source it starts
	return memoryLimit, nil
}

// newLogger returns a logger that writes to standard error.
func newLogger(logging v1alpha1.Logging) logr.Logger {
	var logger logr.Logger
	if logging.Encoding == "json" {
		logger, _ = logsjson.NewJSONLogger(0, zapcore.Lock(os.Stderr), nil, nil)
	} else {
		logger = textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(int(logging.Verbosity))))
	}
	if logging.Verbosity > 0 {
		return logger
	}
	return logr.New(newOperatorSink(logger))
}

// standardLog redirects Go's standard logger, which some libraries use, to klog.
type standardLog struct{}

// Write implements io.Writer.
func (standardLog) Write(line []byte) (int, error) {
	klog.V(1).InfoS("Line of a library", "line", strings.TrimSpace(string(line)))
	return len(line), nil
}
