package app

import (
	"context"
	"runtime"
	"strings"
	"sync"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/component-base/metrics"

	"github.com/sublet-dev/sublet/pkg/meter"
)

// someFrames is how many frames of a stack are read at a time.
const someFrames = 64

// panicCount returns the metric of panics that end nothing. It registers the metric when it is first needed.
//
//nolint:gochecknoglobals // Metrics are the process's; it is written once, by sync.OnceValue.
var panicCount = sync.OnceValue(func() *metrics.Counter {
	return meter.Counter("sublet_upstream_panics_total", "Panics in workers and handlers of the code of Kubernetes.")
})

// limitPanics lets a panic in a worker or handler of upstream's code fail one key or event. Upstream ends the process,
// so that it starts again. Here the API server would end too, and again at each start, if an object of a tenant is the
// reason.
func limitPanics() {
	utilruntime.ReallyCrash = false
	panicCount()
	utilruntime.PanicHandlers = append(utilruntime.PanicHandlers, abortRequest)
}

// abortRequest panics again in a goroutine that serves a request. Whoever runs the handler recovers, and cuts the answer
// off. Otherwise the client would take the part that it has for the whole. It also does so where nothing continues. It counts
// all others.
func abortRequest(_ context.Context, cause any) {
	callers := make([]uintptr, someFrames)
	for skip := 1; ; skip += someFrames {
		count := runtime.Callers(skip, callers)
		if count == 0 {
			panicCount().Inc()
			return
		}
		frames := runtime.CallersFrames(callers[:count])
		for more := true; more; {
			var frame runtime.Frame
			if frame, more = frames.Next(); strings.HasSuffix(frame.Function, ".ServeHTTP") || endsProcess(frame.Function) {
				panic(cause)
			}
		}
	}
}

// endsProcess reports whether a panic in a function must end the process. Otherwise the API server would continue without
// its port, or take a hook that has failed for one that has succeeded. The scheduler would lose the pod, and keep all
// later events for it.
func endsProcess(function string) bool {
	const server = "k8s.io/apiserver/pkg/server."
	return strings.HasPrefix(function, server+"RunServer.") || strings.HasPrefix(function, server+"runPostStartHook") ||
		function == "k8s.io/kubernetes/pkg/scheduler.(*Scheduler).ScheduleOne"
}
