package controlplane

import (
	"context"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/controlplane/requestmemory"
)

// openAPIPath begins the paths of the documents that describe the API.
const openAPIPath = "/openapi/"

// withRequestMemory bounds the number of requests from outside of the process, and the memory that they take
// together. Streams of containers and requests that another API server answers count by their number alone,
// because they pass through.
func (a *assembly) withRequestMemory(next http.Handler, isLongRunning request.LongRunningRequestCheck) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx := req.Context()
		info, ok := request.RequestInfoFrom(ctx)
		if !ok || loopback.IsLoopback(ctx) {
			next.ServeHTTP(w, req)
			return
		}
		account, err := a.memory.NewAccount(userName(ctx))
		if err != nil {
			version := schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
			responsewriters.ErrorNegotiated(err, legacyscheme.Codecs, version, w, req)
			return
		}
		defer account.Close()
		isLong := isLongRunning(req, info)
		switch {
		case a.isAggregatedRequest(req):
		case strings.HasPrefix(req.URL.Path, openAPIPath):
			req = req.WithContext(requestmemory.WithAccount(ctx, account))
		case !info.IsResourceRequest:
		case !isLong:
			req = req.WithContext(requestmemory.WithAccount(ctx, account))
			req.Body = account.Body(ctx, req.Body, !legacyscheme.Scheme.IsGroupRegistered(info.APIGroup))
		case info.Verb == "watch":
			req = req.WithContext(requestmemory.WithWatchAccount(ctx, account))
		}
		next.ServeHTTP(w, req)
	})
}

// userName returns the name of the user of a request, "" if it is unknown.
func userName(ctx context.Context) string {
	if user, ok := request.UserFrom(ctx); ok {
		return user.GetName()
	}
	return ""
}
