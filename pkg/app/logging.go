package app

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	logsjson "k8s.io/component-base/logs/json"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// prepareProcess configures the process-wide log, garbage collector and handling of panics. It returns the memory
// limit of the container in bytes, 0 if it is not known.
func prepareProcess(logging v1alpha1.Logging) (memoryLimit int64, err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(startGCPercent)
	}
	limitPanics()
	if memoryLimit, err = setMemoryLimit(); err != nil {
		return 0, err
	}
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if err := flags.Set("v", strconv.Itoa(int(logging.Verbosity))); err != nil {
		return 0, fmt.Errorf("cannot set up the log: %w", err)
	}
	klog.SetLoggerWithOptions(newLogger(logging, os.Stderr), klog.ContextualLogger(true))
	log.SetFlags(0)
	log.SetOutput(standardLog{})
	ctrllog.SetLogger(klog.Background().V(1)) // controller-runtime logs each source it starts
	return memoryLimit, nil
}

// newLogger returns a logger that writes to out.
func newLogger(logging v1alpha1.Logging, out io.Writer) logr.Logger {
	var logger logr.Logger
	out = printableLog{out}
	if logging.Encoding == "json" {
		logger, _ = logsjson.NewJSONLogger(0, zapcore.Lock(zapcore.AddSync(out)), nil, nil)
	} else {
		logger = textlogger.NewLogger(textlogger.NewConfig(
			textlogger.Verbosity(int(logging.Verbosity)), textlogger.Output(out)))
	}
	if logging.Verbosity > 0 {
		return logger
	}
	return logr.New(newOperatorSink(logger))
}

// printableLog replaces characters that control a terminal, such as those that overwrite a line. A tenant
// chooses parts of errors, such as the message of a webhook. textlogger quotes only values without a line break.
type printableLog struct{ out io.Writer }

// Write implements io.Writer.
func (p printableLog) Write(record []byte) (int, error) {
	printable := bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, record)
	if _, err := p.out.Write(printable); err != nil {
		return 0, err
	}
	return len(record), nil
}

// standardLog redirects Go's standard logger, which some libraries use, to klog.
type standardLog struct{}

// Write implements io.Writer.
func (standardLog) Write(line []byte) (int, error) {
	klog.V(1).InfoS("Line of a library", "line", strings.TrimSpace(string(line)))
	return len(line), nil
}
