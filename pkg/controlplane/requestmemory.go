package controlplane

import (
	"net/http"

	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/controlplane/requestmemory"
)

// withRequestMemory bounds the memory that requests from outside of the process take together. Streams of
// containers and requests that another API server answers are left out, because they pass through.
func (a *assembly) withRequestMemory(next http.Handler, isLongRunning request.LongRunningRequestCheck) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx := req.Context()
		info, ok := request.RequestInfoFrom(ctx)
		if !ok || !info.IsResourceRequest || loopback.IsLoopback(ctx) || a.isAggregatedRequest(req) {
			next.ServeHTTP(w, req)
			return
		}
		isLong := isLongRunning(req, info)
		if isLong && info.Verb != "watch" {
			next.ServeHTTP(w, req)
			return
		}
		account := a.memory.NewAccount()
		defer account.Close()
		if isLong {
			req = req.WithContext(requestmemory.WithWatchAccount(ctx, account))
		} else {
			req = req.WithContext(requestmemory.WithAccount(ctx, account))
			req.Body = account.Body(ctx, req.Body, !legacyscheme.Scheme.IsGroupRegistered(info.APIGroup))
		}
		next.ServeHTTP(w, req)
	})
}
