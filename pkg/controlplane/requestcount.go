package controlplane

import (
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

// isLongRunning returns the check of requests that have no time limit.
func isLongRunning() request.LongRunningRequestCheck {
	return filters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
}

// withRequestCount calls count for each request from outside of the process, except for long-running
// requests and health checks. Rejected requests count too, because they are load.
func withRequestCount(next http.Handler, config *genericapiserver.Config, count func()) http.Handler {
	if count == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if countsAsLoad(req, config) {
			count()
		}
		next.ServeHTTP(w, req)
	})
}

// countsAsLoad reports whether a request counts.
func countsAsLoad(req *http.Request, config *genericapiserver.Config) bool {
	if _, ok := loopback.UserOf(req.Context()); ok || isHealthPath(req.URL.Path) {
		return false
	}
	info, err := config.RequestInfoResolver.NewRequestInfo(req)
	return err == nil && !config.LongRunningFunc(req, info)
}

// isHealthPath reports whether the path is one of a health check.
func isHealthPath(path string) bool {
	for _, health := range []string{"/livez", "/readyz", "/healthz"} {
		if path == health || strings.HasPrefix(path, health+"/") {
			return true
		}
	}
	return false
}
