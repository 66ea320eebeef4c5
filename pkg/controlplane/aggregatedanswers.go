package controlplane

import (
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

const (
	// aggregatedBytes is how long an answer of an aggregated API server may be that a part of the process
	// reads as a whole.
	aggregatedBytes = 16 << 20
	// memoryCheckBytes is after how many bytes of a watch the memory is checked.
	memoryCheckBytes = 256 << 10
)

// withBoundedAggregation bounds what parts of the process read of aggregated API servers. Controllers keep
// all objects of these servers in memory, and no quota of the store counts those. Servers get no request
// while memory is short, and watches end then.
func (a *assembly) withBoundedAggregation(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if loopback.IsLoopback(req.Context()) && a.isAggregatedDescription(req.URL.Path) {
			// Upstream would check the types of policies by it. Its reader panics on some documents, and
			// takes all memory for others.
			http.NotFound(w, req)
			return
		}
		if !loopback.IsLoopback(req.Context()) || !a.isAggregatedRequest(req) {
			next.ServeHTTP(w, req)
			return
		}
		if isMemoryShort() {
			http.Error(w, newInsufficientMemory().Error(), http.StatusInsufficientStorage)
			return
		}
		if req.Header.Get("Accept-Encoding") == "" {
			// Otherwise the transport asks for gzip, and a small answer becomes a large one.
			req.Header.Set("Accept-Encoding", "identity")
		}
		info, _ := request.RequestInfoFrom(req.Context())
		bounded := &boundedWriter{ResponseWriter: w, isStream: info.Verb == "watch"}
		next.ServeHTTP(bounded, req)
		if bounded.failed {
			panic(http.ErrAbortHandler) // The caller must not take the part that it has for the whole.
		}
	})
}

// isAggregatedRequest reports whether another API server answers a request.
func (a *assembly) isAggregatedRequest(req *http.Request) bool {
	info, ok := request.RequestInfoFrom(req.Context())
	if !ok {
		return false
	}
	version := schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
	if !info.IsResourceRequest {
		if version, ok = parseRoot(info.Path); !ok {
			return false
		}
	}
	return a.isAggregated(version)
}

// isAggregatedDescription reports whether another API server answers a request for an OpenAPI document.
func (a *assembly) isAggregatedDescription(path string) bool {
	root, ok := strings.CutPrefix(path, "/openapi/v3/")
	if !ok {
		return false
	}
	version, ok := parseRoot(root)
	return ok && a.isAggregated(version)
}

// isAggregated reports whether another API server serves a group and version.
func (a *assembly) isAggregated(version schema.GroupVersion) bool {
	if version.Group == "" || a.server.builtin.has(version.Group, version.Version) {
		return false
	}
	service, err := a.server.apiServices().Lister().Get(version.Version + "." + version.Group)
	return err == nil && service.Spec.Service != nil
}

// boundedWriter passes on an answer up to a limit.
type boundedWriter struct {
	http.ResponseWriter
	isStream bool
	// written counts bytes, of a stream those since the last check of the memory.
	written int
	failed  bool
}

// Write implements http.ResponseWriter.
func (w *boundedWriter) Write(p []byte) (int, error) {
	w.written += len(p)
	switch {
	case w.failed:
	case !w.isStream:
		w.failed = w.written > aggregatedBytes
	case w.written > memoryCheckBytes:
		w.written, w.failed = 0, isMemoryShort()
	}
	if w.failed {
		return 0, fmt.Errorf("the answer is longer than %d bytes, or memory is short", aggregatedBytes)
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap returns the inner writer, for http.ResponseController.
func (w *boundedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush implements http.Flusher.
func (w *boundedWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }
