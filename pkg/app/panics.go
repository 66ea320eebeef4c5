package app

import (
	"context"
	"runtime"
	"strings"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// maxFrames is how many frames of a stack are searched for a request.
const maxFrames = 1024

// limitPanics lets a panic in a worker or handler of upstream's code fail one key or event. Upstream ends the process,
// so that it starts again. Here the API server would end too, and again at each start, if an object of a tenant is the
// reason.
func limitPanics() {
	utilruntime.ReallyCrash = false
	utilruntime.PanicHandlers = append(utilruntime.PanicHandlers, abortRequest)
}

// abortRequest panics again in a goroutine that serves a request. Whoever runs the handler recovers, and cuts the answer
// off. Otherwise the client would take the part that it has for the whole.
func abortRequest(_ context.Context, cause any) {
	callers := make([]uintptr, maxFrames)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, ".ServeHTTP") {
			panic(cause)
		}
		if !more {
			return
		}
	}
}
