package customresources

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	restfake "k8s.io/client-go/rest/fake"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/test/await"
)

// apis answers what is asked of discovery and of OpenAPI documents.
type apis struct {
	mu      sync.Mutex
	answers map[string]string // path -> document, empty for a server that is away
	read    int               // OpenAPI documents
}

// client returns a client of it.
func (a *apis) client() rest.Interface {
	return &restfake.RESTClient{
		NegotiatedSerializer: scheme.Codecs, GroupVersion: schema.GroupVersion{},
		Client: restfake.CreateHTTPClient(func(r *http.Request) (*http.Response, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			if strings.HasPrefix(r.URL.Path, "/openapi/v3/") {
				a.read++
			}
			answer, ok := a.answers[r.URL.Path]
			status := http.StatusOK
			switch {
			case !ok:
				status = http.StatusNotFound
			case answer == "":
				status = http.StatusServiceUnavailable
			}
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(answer)), Header: http.Header{}}, nil
		}),
	}
}

// set changes answers. An answer "gone" removes the one that there was.
func (a *apis) set(answers map[string]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.Copy(a.answers, answers)
	maps.DeleteFunc(a.answers, func(_, answer string) bool { return answer == "gone" })
}

// documents returns how many OpenAPI documents were read.
func (a *apis) documents() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.read
}

// widgetAPI returns the answers of a host that serves widgets by an aggregated API.
func widgetAPI() map[string]string {
	return map[string]string{
		"/apis/example.com": `{"preferredVersion":{"version":"v1"},"versions":[{"version":"v1"},{"version":"v2"}]}`,
		"/apis/example.com/v1": `{"resources":[
			{"name":"widgets","singularName":"widget","namespaced":true,"kind":"Widget","verbs":["create","delete","get","list","patch","watch"],"shortNames":["w"],"categories":["all"]},
			{"name":"widgets/status","namespaced":true,"kind":"Widget","verbs":["get","patch"]}]}`,
		"/openapi/v3": `{"paths":{"apis/example.com/v1":{"serverRelativeURL":"/openapi/v3/apis/example.com/v1?hash=1"}}}`,
		"/openapi/v3/apis/example.com/v1": `{"components":{"schemas":{"W":{"type":"object","x-kubernetes-group-version-kind":[{"group":"example.com","version":"v1","kind":"Widget"}],
			"properties":{"secretName":{"type":"string"}}}}}}`,
	}
}

// TestLifeOfAnAggregatedKind starts a kind with its API, keeps it while the API is away, and
// stops it when the host has neither API nor definition.
func TestLifeOfAnAggregatedKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, toHost(v1alpha1.CustomResource{}))
	w.apis.set(widgetAPI())
	w.establish(t)
	w.engine.has(t, allKinds)
	w.reports(t, "")
	found, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), widgets, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if v := found.Spec.Versions[0]; found.Spec.Names.ShortNames[0] != "w" || found.Spec.Names.Categories[0] != "all" || v.Subresources.Status == nil || v.Subresources.Scale != nil {
		t.Errorf("got %+v", found.Spec)
	}
	for _, away := range []string{"/apis/example.com/v1", "/apis/example.com", "/openapi/v3"} {
		w.apis.set(map[string]string{away: ""})
		w.reports(t, "the host's API of the kind is not available")
		w.engine.has(t, allKinds)
		w.apis.set(widgetAPI())
		w.reports(t, "")
	}
	w.apis.set(map[string]string{"/openapi/v3": `{"paths":{}}`})
	w.reports(t, "it has no OpenAPI v3 document of example.com/v1")
	w.engine.has(t, allKinds)
	w.apis.set(widgetAPI())
	w.reports(t, "")
	if read := w.apis.documents(); read != 1 {
		t.Errorf("the document has not changed and was read %d times", read)
	}
	w.apis.set(map[string]string{"/apis/example.com": "gone"})
	w.engine.has(t, "")
	w.reports(t, "the host has no definition of that name")
	if _, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), widgets, metav1.GetOptions{}); err != nil {
		t.Errorf("the definition has the tenant's objects and must stay: %v", err)
	}
	w.apis.set(widgetAPI())
	w.engine.has(t, allKinds)
}

// TestPreferredVersion keeps the version that the tenant's objects are stored in when the host
// prefers another one.
func TestPreferredVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, toHost(v1alpha1.CustomResource{}))
	w.apis.set(widgetAPI())
	w.establish(t)
	w.engine.has(t, allKinds)
	answers := map[string]string{
		"/apis/example.com":               `{"preferredVersion":{"version":"v2"},"versions":[{"version":"v1"},{"version":"v2"}]}`,
		"/openapi/v3":                     `{"paths":{"apis/example.com/v1":{"serverRelativeURL":"/openapi/v3/apis/example.com/v1?hash=2"},"apis/example.com/v2":{"serverRelativeURL":"/openapi/v3/apis/example.com/v2"}}}`,
		"/openapi/v3/apis/example.com/v1": strings.Replace(widgetAPI()["/openapi/v3/apis/example.com/v1"], `"secretName"`, `"added":{"type":"string"},"secretName"`, 1),
	}
	for _, path := range []string{"/apis/example.com/v1", "/openapi/v3/apis/example.com/v1"} {
		text := cmp.Or(answers[path], widgetAPI()[path])
		answers[strings.Replace(path, "/v1", "/v2", 1)] = strings.ReplaceAll(text, `"v1"`, `"v2"`)
	}
	w.apis.set(answers)
	await.Until(t, "the change of the schema", func(ctx context.Context) error {
		found, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, widgets, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if v := found.Spec.Versions[0]; len(found.Spec.Versions) != 1 || v.Name != "v1" || len(v.Schema.OpenAPIV3Schema.Properties) != 2 {
			return fmt.Errorf("got %+v", found.Spec.Versions)
		}
		return nil
	})
}

// TestAggregatedFromHost shows a kind of the host, and deletes the copies when its API goes.
func TestAggregatedFromHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, v1alpha1.Sync{FromHost: v1alpha1.FromHost{CustomResources: map[string]v1alpha1.HostCustomResource{
		widgets: {Enabled: true, Scope: v1alpha1.NamespacedScope, Mappings: v1alpha1.CustomMappings{ByName: map[string]string{"a/b": "c/d"}}},
	}}})
	w.apis.set(widgetAPI())
	w.establish(t)
	w.engine.has(t, widgets)
	w.apis.set(map[string]string{"/apis/example.com/v1": `{"resources":[]}`})
	w.engine.has(t, "")
	await.Until(t, "the end of the copy", func(ctx context.Context) error {
		if _, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, widgets, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
}

// TestRefusedAPIs looks at APIs whose kinds cannot be synced.
func TestRefusedAPIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key    string
		change map[string]string
		want   string
	}{
		"BuiltIn": {"deployments.apps", nil, "the kinds of apps are built in"},
		"Verbs":   {widgets, map[string]string{"/apis/example.com/v1": `{"resources":[{"name":"widgets","namespaced":true,"kind":"Widget","verbs":["get","list"]}]}`}, "lacks the verb create"},
		"Scope": {
			widgets,
			map[string]string{"/apis/example.com/v1": `{"resources":[{"name":"widgets","kind":"Widget","verbs":["create","delete","get","list","patch","watch"]}]}`},
			"its scope on the host is Cluster, not Namespaced",
		},
		"Schema":   {widgets, map[string]string{"/openapi/v3/apis/example.com/v1": `{"components":{}}`}, "the OpenAPI document has no schema of Widget"},
		"Version":  {widgets + "/v3", nil, "no aggregated API serves the kind"},
		"Other":    {widgets + "/v2", nil, "is not available"},
		"Nonsense": {widgets, map[string]string{"/apis/example.com/v1": "<html>"}, "cannot read /apis/example.com/v1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, v1alpha1.Sync{ToHost: v1alpha1.ToHost{CustomResources: map[string]v1alpha1.CustomResource{c.key: {Enabled: true}}}})
			answers := widgetAPI()
			maps.Copy(answers, c.change)
			w.apis.set(answers)
			w.reports(t, c.want)
			w.engine.has(t, "")
		})
	}
}
