package openapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emicklei/go-restful/v3"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/fake"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// builtin is the group and version that the server of these tests serves itself.
const builtin = "apis/apps/v1"

// world is a description, and the custom resource definitions that it watches.
type world struct {
	*Description
	client *fake.Clientset
	paths  *mux.PathRecorderMux
	end    func()
}

// newWorld returns a description of one built-in group and of some definitions. It runs
// until end is called.
func newWorld(t *testing.T, definitions ...runtime.Object) *world {
	t.Helper()
	service := new(restful.WebService).Path("/" + builtin).Produces("application/json")
	service.Route(service.GET("/things").To(func(*restful.Request, *restful.Response) {}).Operation("listThings").Returns(200, "OK", ""))
	noModels := func(common.ReferenceCallback) map[string]common.OpenAPIDefinition { return nil }
	info := &spec.Info{InfoProps: spec.InfoProps{Title: "Test"}}
	client := fake.NewClientset(definitions...)
	w := &world{
		Description: newDescription(
			&common.Config{Info: info, GetDefinitions: noModels}, &common.OpenAPIV3Config{Info: info, GetDefinitions: noModels},
			aggregatedPaths(nil), map[string]*restful.WebService{builtin: service}, client),
		client: client, paths: mux.NewPathRecorderMux("test"),
	}
	w.Install(w.paths)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	w.end = func() {
		cancel()
		w.factory.Shutdown()
	}
	if err := w.Start(genericapiserver.PostStartHookContext{Context: ctx}); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return w
}

// get asks for a path.
func (w *world) get(t *testing.T, path string) *http.Response {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	req.Header.Set("Accept", "application/json")
	answer := httptest.NewRecorder()
	w.paths.ServeHTTP(answer, req)
	return answer.Result()
}

// body asks for a path and returns the body of an answer with code 200.
func (w *world) body(t *testing.T, path string) string {
	t.Helper()
	res := w.get(t, path)
	var text strings.Builder
	if err := copyBody(&text, res); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: got %d, %v: %s", path, res.StatusCode, err, text.String())
	}
	return text.String()
}

// list returns the addresses of all documents, by their path.
func (w *world) list(t *testing.T) map[string]string {
	t.Helper()
	discovery := handler3.OpenAPIV3Discovery{}
	if err := json.Unmarshal([]byte(w.body(t, v3Path)), &discovery); err != nil {
		t.Fatal(err)
	}
	addresses := map[string]string{}
	for path, group := range discovery.Paths {
		addresses[path] = group.ServerRelativeURL
	}
	return addresses
}

// update changes a definition and waits until the description has seen that.
func (w *world) update(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	if _, err := w.client.ApiextensionsV1().CustomResourceDefinitions().Update(t.Context(), crd, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// countGets returns how many definitions were read whole.
func (w *world) countGets() int {
	count := 0
	for _, action := range w.client.Actions() {
		if action.GetVerb() == "get" {
			count++
		}
	}
	return count
}

// definition returns an established definition whose objects have the given field.
func definition(group, plural, kind, field string) *apiextensionsv1.CustomResourceDefinition {
	version := func(name string, served bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{
			Name: name, Served: served, Storage: served,
			AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Column", Type: "string", JSONPath: "." + field}},
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
				Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{field: {Type: "string"}},
			}},
		}
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + "." + group, UID: types.UID(plural), Generation: 1},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: apiextensionsv1.NamespaceScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Singular: strings.ToLower(kind), Kind: kind, ListKind: kind + "List"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true), version("v0", false)},
		},
		Status: apiextensionsv1.CustomResourceDefinitionStatus{Conditions: []apiextensionsv1.CustomResourceDefinitionCondition{
			{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue},
		}},
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	unestablished := definition("other.example.com", "gears", "Gear", "teeth")
	unestablished.Status.Conditions = nil
	cases := map[string]struct {
		reason      string
		definitions []runtime.Object
		want        []string
	}{
		"Builtin": {
			reason: "a cluster without custom resources has the built-in groups",
			want:   []string{builtin},
		},
		"CustomResources": {
			reason: "a group is listed once, with the versions that are served",
			definitions: []runtime.Object{
				definition("example.com", "widgets", "Widget", "size"), definition("example.com", "gadgets", "Gadget", "color"),
			},
			want: []string{builtin, "apis/example.com/v1"},
		},
		"NotEstablished": {
			reason:      "a resource that is not served is not described",
			definitions: []runtime.Object{unestablished},
			want:        []string{builtin},
		},
		"BuiltinGroup": {
			reason:      "a built-in group stays what it is",
			definitions: []runtime.Object{definition("apps", "widgets", "Widget", "size")},
			want:        []string{builtin},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, tc.definitions...)
				defer w.end()
				if got := slices.Sorted(maps.Keys(w.list(t))); !slices.Equal(got, tc.want) {
					t.Errorf("%s: got %v, want %v", tc.reason, got, tc.want)
				}
				if got := w.countGets(); got > 0 {
					t.Errorf("the list has read %d definitions, which it does not need", got)
				}
			})
		})
	}
}

// TestAddressFollowsTheContent changes a definition. Clients keep what they have read
// until its address changes.
func TestAddressFollowsTheContent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		crd := definition("example.com", "widgets", "Widget", "size")
		w := newWorld(t, crd)
		defer w.end()
		before := w.list(t)
		if again := w.list(t); !maps.Equal(before, again) {
			t.Errorf("addresses change by themselves: %v, then %v", before, again)
		}
		changed := crd.DeepCopy()
		changed.Generation++
		w.update(t, changed)
		after := w.list(t)
		if after["apis/example.com/v1"] == before["apis/example.com/v1"] {
			t.Error("the address of a document stays when the document changes")
		}
		if after[builtin] != before[builtin] {
			t.Error("the address of another group changes too")
		}
	})
}

func TestGroup(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		path   string
		code   int
		has    string
	}{
		"Builtin":        {"a document has the routes of its group", v3Path + "/" + builtin, http.StatusOK, "listThings"},
		"CustomResource": {"a document has the whole schema, though the cache does not", v3Path + "/apis/example.com/v1", http.StatusOK, `"size"`},
		"BothResources":  {"and all resources of the group", v3Path + "/apis/example.com/v1", http.StatusOK, `"color"`},
		"NotServed":      {"a version that is not served has none", v3Path + "/apis/example.com/v0", http.StatusNotFound, ""},
		"Unknown":        {"nor does a group that does not exist", v3Path + "/apis/gone.example.com/v1", http.StatusNotFound, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, definition("example.com", "widgets", "Widget", "size"), definition("example.com", "gadgets", "Gadget", "color"))
				defer w.end()
				if res := w.get(t, tc.path); res.StatusCode != tc.code {
					t.Fatalf("%s: got code %d, want %d", tc.reason, res.StatusCode, tc.code)
				}
				if tc.has != "" && !strings.Contains(w.body(t, tc.path), tc.has) {
					t.Errorf("%s: %s is not in it", tc.reason, tc.has)
				}
			})
		})
	}
}

// TestHash asks for documents with the address from the list, and with an outdated one.
func TestHash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, definition("example.com", "widgets", "Widget", "size"))
		defer w.end()
		for path, address := range w.list(t) {
			res := w.get(t, address)
			if res.StatusCode != http.StatusOK || res.Header.Get("Cache-Control") != "public, immutable" || res.Header.Get("Expires") == "" {
				t.Errorf("%s: got %d with %v, want a document to keep", address, res.StatusCode, res.Header)
			}
			outdated := w.get(t, v3Path+"/"+path+"?hash=OUTDATED")
			if outdated.StatusCode != http.StatusMovedPermanently || outdated.Header.Get("Location") != address {
				t.Errorf("%s: got %d to %q, want a redirect to %s", path, outdated.StatusCode, outdated.Header.Get("Location"), address)
			}
			if res := w.get(t, v3Path+"/"+path); res.Header.Get("Cache-Control") == "public, immutable" {
				t.Errorf("%s: a document without a hash must not be kept for ever", path)
			}
		}
	})
}

// TestDocument reads the document of everything several times. It is expensive, so it
// is kept for a while, but neither longer than that nor when it is outdated.
func TestDocument(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		crd := definition("example.com", "widgets", "Widget", "size")
		unestablished := definition("other.example.com", "gears", "Gear", "teeth")
		unestablished.Status.Conditions = nil
		w := newWorld(t, crd, unestablished)
		defer w.end()
		text := w.body(t, v2Path)
		for _, want := range []string{"/apis/apps/v1/things", "/apis/example.com/v1/namespaces/{namespace}/widgets", `"size"`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s is not in the document", want)
			}
		}
		if strings.Contains(text, "example.com/v0") || strings.Contains(text, "gears") {
			t.Error("the document has what is not served")
		}
		w.body(t, v2Path)
		if got := w.countGets(); got != 1 {
			t.Errorf("two requests: the definition was read %d times, want 1", got)
		}

		changed := crd.DeepCopy()
		changed.Generation++
		changed.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["weight"] = apiextensionsv1.JSONSchemaProps{Type: "string"}
		w.update(t, changed)
		if !strings.Contains(w.body(t, v2Path), `"weight"`) {
			t.Error("the document is outdated")
		}
		outliveDocument()
		if w.document != nil {
			t.Error("a document that nobody has asked for stays in memory")
		}
		w.body(t, v2Path)
		if got := w.countGets(); got != 3 {
			t.Errorf("after a while: the definition was read %d times, want 3", got)
		}
		outliveDocument()
	})
}

// TestDefinitionCannotBeRead lets the read of a whole definition fail.
func TestDefinitionCannotBeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, definition("example.com", "widgets", "Widget", "size"))
		defer w.end()
		broken := true
		w.client.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
			return broken, nil, errors.New("no answer")
		})
		for _, path := range []string{v2Path, v3Path + "/apis/example.com/v1"} {
			broken = true
			res := w.get(t, path)
			var text strings.Builder
			_ = copyBody(&text, res)
			if res.StatusCode != http.StatusInternalServerError || !strings.Contains(text.String(), "widgets.example.com") {
				t.Errorf("%s: got %d %q, want code 500 and the name", path, res.StatusCode, text.String())
			}
			broken = false
			w.body(t, path)
		}
		outliveDocument()
	})
}

// TestDefinitionIsDeleted deletes a definition between the list and the read of it. The
// others are described, and its own document is gone.
func TestDefinitionIsDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, definition("example.com", "widgets", "Widget", "size"), definition("example.org", "gadgets", "Gadget", "colour"))
		defer w.end()
		w.client.PrependReactor("get", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
			name := action.(clienttesting.GetAction).GetName()
			return name == "widgets.example.com", nil, apierrors.NewNotFound(action.GetResource().GroupResource(), name)
		})
		if body := w.body(t, v2Path); !strings.Contains(body, `"colour"`) || strings.Contains(body, `"size"`) {
			t.Errorf("the v2 document has not just what exists")
		}
		for path, want := range map[string]int{"/apis/example.com/v1": http.StatusNotFound, "/apis/example.org/v1": http.StatusOK} {
			res := w.get(t, v3Path+path)
			_ = copyBody(io.Discard, res)
			if res.StatusCode != want {
				t.Errorf("%s: got %d, want %d", path, res.StatusCode, want)
			}
		}
		outliveDocument()
	})
}

// TestCacheHasNoSchemas looks at what stays in memory of a definition.
func TestCacheHasNoSchemas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		crd := definition("example.com", "widgets", "Widget", "size")
		crd.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "large"}
		crd.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
		w := newWorld(t, crd)
		defer w.end()
		kept, err := w.crds.Get(crd.Name)
		if err != nil {
			t.Fatal(err)
		}
		if kept.Annotations != nil || kept.ManagedFields != nil {
			t.Error("annotations and managed fields stay in memory")
		}
		for _, version := range kept.Spec.Versions {
			if version.Schema != nil || version.AdditionalPrinterColumns != nil {
				t.Errorf("the schema of version %s stays in memory", version.Name)
			}
		}
		if got, err := stripDefinition("something else"); got != "something else" || err != nil {
			t.Errorf("an object of another type: got %v, %v", got, err)
		}
	})
}
