package controlplane

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// TestRequestCount sends requests of each sort and counts them.
func TestRequestCount(t *testing.T) {
	t.Parallel()
	config := &genericapiserver.Config{
		RequestInfoResolver: &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")},
		LongRunningFunc:     isLongRunning(),
	}
	for _, tc := range []struct {
		reason, method, path string
		want                 int
	}{
		{"a read", http.MethodGet, "/api/v1/namespaces/default/pods/a", 1},
		{"a list", http.MethodGet, "/apis/apps/v1/deployments", 1},
		{"a write", http.MethodPost, "/api/v1/namespaces/default/pods", 1},
		{"discovery", http.MethodGet, "/apis", 1},
		{"a watch", http.MethodGet, "/api/v1/pods?watch=true", 0},
		{"logs", http.MethodGet, "/api/v1/namespaces/default/pods/a/log", 0},
		{"an exec", http.MethodPost, "/api/v1/namespaces/default/pods/a/exec", 0},
		{"a health check", http.MethodGet, "/readyz", 0},
		{"a part of one", http.MethodGet, "/livez/etcd", 0},
		{"a path that begins like one", http.MethodGet, "/livezone", 1},
	} {
		counted, served := 0, 0
		handler := withRequestCount(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }), config, func() { counted++ })
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), tc.method, tc.path, nil))
		if counted != tc.want || served != 1 {
			t.Errorf("%s: counted %d, want %d, and served %d", tc.reason, counted, tc.want, served)
		}
	}
}
