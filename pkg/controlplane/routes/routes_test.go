package routes

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/emicklei/go-restful/v3"
	"github.com/google/go-cmp/cmp"
)

// newContainer returns a container whose routes answer with their operation and parameters.
func newContainer(router restful.RouteSelector) *restful.Container {
	container := restful.NewContainer()
	container.Router(router)
	for _, root := range []string{"/api/v1", "/apis/apps/v1"} {
		service := new(restful.WebService).Path(root)
		answer := func(operation string) restful.RouteFunction {
			return func(request *restful.Request, response *restful.Response) {
				_, _ = response.Write([]byte(root + " " + operation + " " + request.PathParameter("namespace") + "/" + request.PathParameter("name")))
			}
		}
		service.Route(service.GET("/things").To(answer("list all")))
		service.Route(service.GET("/namespaces/{namespace}/things").To(answer("list")))
		service.Route(service.POST("/namespaces/{namespace}/things").To(answer("create")))
		service.Route(service.GET("/namespaces/{namespace}/things/{name}").To(answer("get")))
		service.Route(service.PUT("/namespaces/{namespace}/things/{name}").To(answer("update")))
		service.Route(service.DELETE("/namespaces/{namespace}/things/{name}").To(answer("delete")))
		container.Add(service)
	}
	return container
}

// answers returns the answers to requests that the routes know, and to some that they do not know.
func answers(container *restful.Container) map[string]string {
	all := map[string]string{}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		for _, path := range []string{
			"/api/v1/things", "/api/v1/namespaces/a/things", "/apis/apps/v1/namespaces/a/things", "/api/v1/namespaces/a/things/b",
			"/apis/apps/v1/namespaces/a/things/b", "/api/v1/namespaces/a/things/b/c", "/api/v1/other",
		} {
			recorder := httptest.NewRecorder()
			container.ServeHTTP(recorder, httptest.NewRequest(method, path, http.NoBody))
			all[method+" "+path] = strings.TrimSpace(recorder.Result().Status + " " + recorder.Body.String())
		}
	}
	return all
}

// TestShareExpressions shows that routes answer as before. It fails for a version of go-restful that has its expressions
// elsewhere.
func TestShareExpressions(t *testing.T) {
	t.Parallel()
	for name, router := range map[string]restful.RouteSelector{"as in an API server": restful.CurlyRouter{}, "by expressions": restful.RouterJSR311{}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			container := newContainer(router)
			want := answers(container)
			if dropped := ShareExpressions(container.RegisteredWebServices()); dropped != 6 {
				t.Errorf("dropped %d expressions, want 6: two services have 6 routes with 3 paths each", dropped)
			}
			if dropped := ShareExpressions(container.RegisteredWebServices()); dropped != 0 {
				t.Errorf("dropped %d expressions again, want none", dropped)
			}
			if diff := cmp.Diff(want, answers(container)); diff != "" {
				t.Errorf("answers differ (-before +after):\n%s", diff)
			}
		})
	}
}
