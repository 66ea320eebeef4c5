package controlplane

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emicklei/go-restful/v3"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apiextensionsinformers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
	apiextensionslisters "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/version"
	builder2 "k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

const (
	openAPIv2 = "/openapi/v2"
	openAPIv3 = "/openapi/v3"

	// keepDocument is how long the v2 document stays in memory after its last
	// use. Clients that read it at all tend to read it several times.
	keepDocument = 2 * time.Minute
)

// openAPI serves the API's description, and builds it when somebody asks.
//
// Upstream builds the whole description before the server is ready, in two
// formats and several encodings: nearly half of the time and of the memory of a
// start, for documents of which most clusters are never asked. Here the list of
// documents (/openapi/v3) costs nothing, because their hashes come from the
// version of the server and the generations of the custom resources instead of
// from their content, and one group's document is built per request. The big
// v2 document is for old clients.
//
// Descriptions of aggregated API servers are not included.
type openAPI struct {
	v2       *common.Config
	v3       *common.OpenAPIV3Config
	services map[string]*restful.WebService // by root path, without the leading slash
	client   apiextensionsclient.Interface
	factory  apiextensionsinformers.SharedInformerFactory
	crds     apiextensionslisters.CustomResourceDefinitionLister

	mu       sync.Mutex // builds are expensive: one at a time
	document http.Handler
	built    string // the hash of the custom resources that document has
	forget   *time.Timer
}

// newOpenAPI collects what the servers of the chain serve.
func newOpenAPI(chain *genericapiserver.GenericAPIServer, v2 *common.Config, v3 *common.OpenAPIV3Config,
	loopback *rest.Config,
) (*openAPI, error) {
	client, err := apiextensionsclient.NewForConfig(loopback)
	if err != nil {
		return nil, err
	}
	o := &openAPI{v2: v2, v3: v3, services: map[string]*restful.WebService{}, client: client}
	for server := chain; server != nil; {
		for _, service := range server.Handler.GoRestfulContainer.RegisteredWebServices() {
			root := strings.TrimPrefix(service.RootPath(), "/")
			if _, ok := o.services[root]; !ok {
				o.services[root] = service
			}
		}
		server, _ = server.NextDelegate().(*genericapiserver.GenericAPIServer)
	}
	// Only names and versions of the definitions stay in memory.
	o.factory = apiextensionsinformers.NewSharedInformerFactoryWithOptions(client, resync,
		apiextensionsinformers.WithTransform(stripDefinition))
	definitions := o.factory.Apiextensions().V1().CustomResourceDefinitions()
	definitions.Informer()
	o.crds = definitions.Lister()
	return o, nil
}

// stripDefinition drops the schemas, which are nearly all of a definition.
func stripDefinition(obj any) (any, error) {
	if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
		crd.ManagedFields, crd.Annotations = nil, nil
		for i := range crd.Spec.Versions {
			crd.Spec.Versions[i].Schema = nil
			crd.Spec.Versions[i].AdditionalPrinterColumns = nil
		}
	}
	return obj, nil
}

// install serves the description on a mux.
func (o *openAPI) install(paths *mux.PathRecorderMux) {
	paths.HandleFunc(openAPIv2, o.serveDocument)
	paths.HandleFunc(openAPIv3, o.serveList)
	paths.UnlistedHandlePrefix(openAPIv3+"/", http.HandlerFunc(o.serveGroup))
}

// start begins to watch the custom resources.
func (o *openAPI) start(hook genericapiserver.PostStartHookContext) error {
	o.factory.Start(hook.Done())
	return nil
}

// groups are the custom resource definitions by the path of the group and
// version that they serve.
func (o *openAPI) groups() (map[string][]*apiextensionsv1.CustomResourceDefinition, error) {
	all, err := o.crds.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	groups := map[string][]*apiextensionsv1.CustomResourceDefinition{}
	for _, crd := range all {
		if !established(crd) {
			continue
		}
		for _, v := range crd.Spec.Versions {
			if path := "apis/" + crd.Spec.Group + "/" + v.Name; v.Served {
				groups[path] = append(groups[path], crd)
			}
		}
	}
	for _, crds := range groups {
		slices.SortFunc(crds, func(a, b *apiextensionsv1.CustomResourceDefinition) int { return strings.Compare(a.Name, b.Name) })
	}
	return groups, nil
}

func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}

// hash identifies a description: by the server's version, and by every
// definition that is in it.
func hash(path string, crds []*apiextensionsv1.CustomResourceDefinition) string {
	sum := sha256.New()
	info := version.Get()
	_, _ = fmt.Fprintln(sum, info.GitVersion, info.GitCommit, path)
	for _, crd := range crds {
		_, _ = fmt.Fprintln(sum, crd.UID, crd.Generation)
	}
	return strings.ToUpper(hex.EncodeToString(sum.Sum(nil)))
}

// link is where a group's document is, under an address that changes with it.
func link(path string, crds []*apiextensionsv1.CustomResourceDefinition) string {
	return openAPIv3 + "/" + path + "?hash=" + hash(path, crds)
}

// serveList answers with the addresses of all documents.
func (o *openAPI) serveList(w http.ResponseWriter, req *http.Request) {
	groups, err := o.groups()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	list := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for path := range o.services {
		list.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: link(path, nil)}
	}
	for path, crds := range groups {
		if _, ok := o.services[path]; !ok {
			list.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: link(path, crds)}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) //nolint:errchkjson // it can be encoded, and nobody waits for an error
}

// serveGroup answers with the document of one group and version.
func (o *openAPI) serveGroup(w http.ResponseWriter, req *http.Request) {
	path := strings.TrimPrefix(req.URL.Path, openAPIv3+"/")
	groups, err := o.groups()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	service, crds := o.services[path], groups[path]
	if service == nil && len(crds) == 0 {
		http.NotFound(w, req)
		return
	}
	if service != nil {
		crds = nil
	}
	if asked := req.URL.Query().Get("hash"); asked != "" {
		if asked != hash(path, crds) {
			http.Redirect(w, req, link(path, crds), http.StatusMovedPermanently) //nolint:gosec // the path is one of ours
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).Format(time.RFC1123)) //nolint:forbidigo // a header for caches
	}
	document, err := o.groupDocument(req.Context(), path, service, crds)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	inner := req.Clone(req.Context())
	inner.URL.RawQuery = "" // upstream's handler would compare it with a hash of the content
	document.ServeHTTP(w, inner)
}

// groupDocument builds the document of one group and version.
func (o *openAPI) groupDocument(ctx context.Context, path string, service *restful.WebService,
	crds []*apiextensionsv1.CustomResourceDefinition,
) (http.Handler, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	paths := mux.NewPathRecorderMux("openapi")
	if service != nil {
		one := restful.NewContainer()
		one.Add(service)
		routes.OpenAPI{V3Config: o.v3}.InstallV3(one, paths)
		return paths, nil
	}
	var specs []*spec3.OpenAPI
	version := path[strings.LastIndex(path, "/")+1:]
	for _, stripped := range crds {
		crd, err := o.definition(ctx, stripped.Name)
		if err != nil {
			return nil, err
		}
		one, err := builder.BuildOpenAPIV3(crd, version, builder.Options{IncludeSelectableFields: true})
		if err != nil {
			return nil, fmt.Errorf("cannot describe %s: %w", crd.Name, err)
		}
		specs = append(specs, one)
	}
	merged, err := builder.MergeSpecsV3(specs...)
	if err != nil {
		return nil, fmt.Errorf("cannot describe %s: %w", path, err)
	}
	served := handler3.NewOpenAPIService()
	served.UpdateGroupVersion(path, merged)
	if err := served.RegisterOpenAPIV3VersionedService(openAPIv3, paths); err != nil {
		return nil, err
	}
	return paths, nil
}

// definition reads a definition with its schemas.
func (o *openAPI) definition(ctx context.Context, name string) (*apiextensionsv1.CustomResourceDefinition, error) {
	crd, err := o.client.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, fmt.Errorf("cannot read the definition %s: %w", name, err)
	}
	return crd, nil
}

// serveDocument answers with the description of everything in the v2 format.
func (o *openAPI) serveDocument(w http.ResponseWriter, req *http.Request) {
	document, err := o.wholeDocument(req.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	document.ServeHTTP(w, req)
}

// wholeDocument builds the v2 document, or takes the one of a moment ago.
func (o *openAPI) wholeDocument(ctx context.Context) (http.Handler, error) {
	crds, err := o.crds.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	crds = slices.DeleteFunc(slices.Clone(crds), func(crd *apiextensionsv1.CustomResourceDefinition) bool { return !established(crd) })
	slices.SortFunc(crds, func(a, b *apiextensionsv1.CustomResourceDefinition) int { return strings.Compare(a.Name, b.Name) })

	o.mu.Lock()
	defer o.mu.Unlock()
	if o.forget != nil {
		o.forget.Stop()
	}
	o.forget = time.AfterFunc(keepDocument, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.document, o.built = nil, ""
	})
	now := hash(openAPIv2, crds)
	if o.document != nil && o.built == now {
		return o.document, nil
	}
	whole, err := o.whole(ctx, crds)
	if err != nil {
		return nil, err
	}
	paths := mux.NewPathRecorderMux("openapi")
	handler.NewOpenAPIService(whole).RegisterOpenAPIVersionedService(openAPIv2, paths)
	o.document, o.built = paths, now
	return paths, nil
}

func (o *openAPI) whole(ctx context.Context, crds []*apiextensionsv1.CustomResourceDefinition) (*spec.Swagger, error) {
	var services []*restful.WebService
	for _, service := range o.services {
		services = append(services, service)
	}
	static, err := builder2.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(services), o.v2)
	if err != nil {
		return nil, fmt.Errorf("cannot describe the API: %w", err)
	}
	static.Definitions = handler.PruneDefaults(static.Definitions)
	var specs []*spec.Swagger
	for _, stripped := range crds {
		crd, err := o.definition(ctx, stripped.Name)
		if err != nil {
			return nil, err
		}
		for _, v := range crd.Spec.Versions {
			if !v.Served {
				continue
			}
			one, err := builder.BuildOpenAPIV2(crd, v.Name, builder.Options{V2: true, IncludeSelectableFields: true})
			if err != nil {
				return nil, fmt.Errorf("cannot describe %s: %w", crd.Name, err)
			}
			one.Definitions = handler.PruneDefaults(one.Definitions)
			specs = append(specs, one)
		}
	}
	merged, err := builder.MergeSpecs(static, specs...)
	if err != nil {
		return nil, fmt.Errorf("cannot describe the API: %w", err)
	}
	return merged, nil
}
