package controlplane

import (
	"net/http"
	"strings"

	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

// loopbackChain builds the handler chain of requests from within the process. It only has the filters
// for identity, authorization and the request deadline. The rest of upstream's chain, such as
// priority and fairness, is for callers on a network. It would be a large part of the cost of a small
// request.
func loopbackChain(api http.Handler, config *genericapiserver.Config) http.Handler {
	handler := genericapifilters.WithAuthorization(api, config.Authorization.Authorizer, config.Serializer)
	handler = withIdentity(handler)
	handler = genericapifilters.WithRequestDeadline(handler, config.AuditBackend, config.AuditPolicyRuleEvaluator,
		config.LongRunningFunc, config.Serializer, config.RequestTimeout)
	handler = genericfilters.WithWaitGroup(handler, config.LongRunningFunc, config.NonLongRunningRequestWaitGroup)
	handler = genericapifilters.WithRequestInfo(handler, config.RequestInfoResolver)
	handler = genericapifilters.WithRequestReceivedTimestamp(handler)
	return genericapifilters.WithAuditInit(handler)
}

// withIdentity sets the caller in the process as the user of the request.
func withIdentity(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if who, ok := loopback.UserOf(req.Context()); ok {
			req = req.WithContext(request.WithUser(req.Context(), who))
		}
		next.ServeHTTP(w, req)
	})
}

// impersonation is the prefix of the headers for impersonation.
const impersonation = "Impersonate-"

// isPlainLoopback reports whether a request comes from within the process and impersonates nobody. A
// request with impersonation uses the full chain.
func isPlainLoopback(req *http.Request) bool {
	if _, ok := loopback.UserOf(req.Context()); !ok {
		return false
	}
	for name := range req.Header {
		if strings.HasPrefix(name, impersonation) {
			return false
		}
	}
	return true
}

// isClosed reports whether a channel is closed.
func isClosed(signal <-chan struct{}) bool {
	select {
	case <-signal:
		return true
	default:
		return false
	}
}
