package app

import (
	"runtime"
	"strings"

	"github.com/go-logr/logr"
)

// operatorSink limits the log to what an operator needs: errors, and the lines of Sublet itself.
// The libraries in this process were written as programs of their own and log hundreds of lines
// at startup. They are shown with a verbosity above 0.
type operatorSink struct{ logr.LogSink }

// newOperatorSink wraps the sink of a logger. The added call depth skips the frame of
// operatorSink when the caller is logged.
func newOperatorSink(logger logr.Logger) *operatorSink {
	return &operatorSink{logger.WithCallDepth(1).GetSink()}
}

// ownPrefix starts the full names of all functions of Sublet.
const ownPrefix = "github.com/sublet-dev/sublet/"

// harmless returns parts of error messages that upstream libraries log at every start although
// nothing is wrong. The comments explain each.
func harmless() []string {
	return []string{
		"The manifest file is empty",                                         // no file configures admission webhooks
		"failed to fetch openapi paths",                                      // admission policies request the schemas before they are served, and retry
		"is not as new as written version",                                   // a controller waits for its cache, and retries
		"failed to sync with latest state",                                   // a file watch of a file that does not exist
		"Found stale data, removed previous endpoints on kubernetes service", // the endpoint of the previous pod
	}
}

// Init implements logr.LogSink. It does nothing, because the wrapped sink is initialized
// already.
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

// isOurs reports whether a function of Sublet called the logging library.
func isOurs() bool {
	var counters [16]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(3, counters[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "k8s.io/klog/") && !strings.HasPrefix(frame.Function, "github.com/go-logr/") {
			return strings.HasPrefix(frame.Function, ownPrefix)
		}
		if !more {
			return false
		}
	}
}
