package app

import (
	"runtime"
	"strings"

	"github.com/go-logr/logr"
)

// operatorSink limits the log to what an operator needs: errors, and the lines of
// Sublet itself. The libraries in this process were written as programs of their own.
// They log some hundred lines at a start, which a verbosity above 0 shows.
type operatorSink struct{ logr.LogSink }

// newOperatorSink limits a logger. The frame of the limit itself is not the caller.
func newOperatorSink(logger logr.Logger) *operatorSink {
	return &operatorSink{logger.WithCallDepth(1).GetSink()}
}

// own is the start of the names of our functions.
const own = "github.com/sublet-dev/sublet/"

// harmless returns errors that upstream's libraries report at every start although
// nothing is wrong, each with what it means.
func harmless() []string {
	return []string{
		"The manifest file is empty",                                         // no admission webhooks from files are configured
		"failed to fetch openapi paths",                                      // admission policies look for the API before it serves, and again later
		"is not as new as written version",                                   // a controller waits for its cache, and tries again
		"failed to sync with latest state",                                   // a watch of files that do not exist
		"Found stale data, removed previous endpoints on kubernetes service", // the endpoint of the pod before this one
	}
}

// Init implements logr.LogSink. The inner sink was prepared with its own logger.
func (*operatorSink) Init(logr.RuntimeInfo) {}

// Error implements logr.LogSink.
func (s *operatorSink) Error(err error, msg string, keysAndValues ...any) {
	text := msg
	if err != nil {
		text += ": " + err.Error()
	}
	for _, known := range harmless() {
		if strings.Contains(text, known) {
			return
		}
	}
	s.LogSink.Error(err, msg, keysAndValues...)
}

// Info implements logr.LogSink.
func (s *operatorSink) Info(level int, msg string, keysAndValues ...any) {
	if isOurs() {
		s.LogSink.Info(level, msg, keysAndValues...)
	}
}

// WithValues implements logr.LogSink.
func (s *operatorSink) WithValues(keysAndValues ...any) logr.LogSink {
	return &operatorSink{s.LogSink.WithValues(keysAndValues...)}
}

// WithName implements logr.LogSink.
func (s *operatorSink) WithName(name string) logr.LogSink {
	return &operatorSink{s.LogSink.WithName(name)}
}

// WithCallDepth implements logr.CallDepthLogSink.
func (s *operatorSink) WithCallDepth(depth int) logr.LogSink {
	if deep, ok := s.LogSink.(logr.CallDepthLogSink); ok {
		return &operatorSink{deep.WithCallDepth(depth)}
	}
	return s
}

// isOurs reports whether the caller of the logging libraries is one of our functions.
func isOurs() bool {
	var counters [16]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(3, counters[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "k8s.io/klog/") && !strings.HasPrefix(frame.Function, "github.com/go-logr/") {
			return strings.HasPrefix(frame.Function, own)
		}
		if !more {
			return false
		}
	}
}
