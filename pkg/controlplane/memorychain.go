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

// memoryChain is what a request of the process itself passes on its way to the API:
// who calls is known, what they may do is checked as for anybody, and the request
// ends in time. What upstream's chain has beside that is for callers behind a
// network: fair queues, from which administrators are exempt, spans and latencies
// for each step, a goroutine of its own that may outlive its caller, and headers for
// browsers. It would be a good part of what a small request costs.
func memoryChain(api http.Handler, config *genericapiserver.Config) http.Handler {
	handler := genericapifilters.WithAuthorization(api, config.Authorization.Authorizer, config.Serializer)
	handler = withIdentity(handler)
	handler = genericapifilters.WithRequestDeadline(handler, config.AuditBackend, config.AuditPolicyRuleEvaluator,
		config.LongRunningFunc, config.Serializer, config.RequestTimeout)
	handler = genericfilters.WithWaitGroup(handler, config.LongRunningFunc, config.NonLongRunningRequestWaitGroup)
	handler = genericapifilters.WithRequestInfo(handler, config.RequestInfoResolver)
	handler = genericapifilters.WithRequestReceivedTimestamp(handler)
	return genericapifilters.WithAuditInit(handler)
}

// withIdentity makes the caller in memory the user of the request.
func withIdentity(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if who, ok := loopback.UserOf(req.Context()); ok {
			req = req.WithContext(request.WithUser(req.Context(), who))
		}
		next.ServeHTTP(w, req)
	})
}

// impersonation begins the name of each header that says for whom a caller acts.
const impersonation = "Impersonate-"

// plainlyInMemory says whether a request comes from the process itself and is what
// it seems to be: who acts for somebody else takes the long way.
func plainlyInMemory(req *http.Request) bool {
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

func closed(signal <-chan struct{}) bool {
	select {
	case <-signal:
		return true
	default:
		return false
	}
}
