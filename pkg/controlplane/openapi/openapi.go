// Package openapi serves the description of the virtual API, and builds it when
// somebody asks.
//
// Upstream builds the whole description before the server is ready, in two formats
// and several encodings. That is nearly half of the time and memory of a start, for
// documents of which most clusters are never asked. Here the list of documents
// (/openapi/v3) costs nothing. Their hashes come from the version of the server and
// the generations of custom resources. One group's document is built per request. The large v2 document is for old clients.
//
// The list has the groups of aggregated API servers, which describe them when somebody asks.
// The v2 document is without them.
package openapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	v2Path = "/openapi/v2"
	v3Path = "/openapi/v3"

	// keepDocument is how long the v2 document stays in memory after its last
	// use. Clients that read it at all tend to read it several times.
	keepDocument = 2 * time.Minute
)

// A Description serves the documents of one chain of API servers.
type Description struct {
	v2         *common.Config
	v3         *common.OpenAPIV3Config
	aggregated Aggregated
	services   map[string]*restful.WebService // by root path, without the leading slash
	// builtIn is the list of the documents of services. The API server itself asks for the
	// list every 5 s.
	builtIn map[string]handler3.OpenAPIV3DiscoveryGroupVersion
	client  apiextensionsclient.Interface
	factory apiextensionsinformers.SharedInformerFactory
	crds    apiextensionslisters.CustomResourceDefinitionLister

	mu       sync.Mutex // builds are expensive: one at a time
	document http.Handler
	hash     string // of document
	forget   *time.Timer
}

// New describes web services; of several with the same root path, the first one. own is the configuration of a
// client that may read custom resource definitions.
func New(all []*restful.WebService, v2 *common.Config, v3 *common.OpenAPIV3Config,
	aggregated Aggregated, own *rest.Config,
) (*Description, error) {
	client, err := apiextensionsclient.NewForConfig(own)
	if err != nil {
		return nil, err
	}
	services := map[string]*restful.WebService{}
	for _, service := range all {
		root := strings.TrimPrefix(service.RootPath(), "/")
		if _, ok := services[root]; !ok {
			services[root] = service
		}
	}
	return newDescription(v2, v3, aggregated, services, client), nil
}

// newDescription returns the description of services and of the custom resources that
// client reads.
func newDescription(v2 *common.Config, v3 *common.OpenAPIV3Config, aggregated Aggregated,
	services map[string]*restful.WebService, client apiextensionsclient.Interface,
) *Description {
	d := &Description{v2: v2, v3: v3, aggregated: aggregated, services: services, client: client}
	d.builtIn = make(map[string]handler3.OpenAPIV3DiscoveryGroupVersion, len(services))
	for path := range services {
		d.builtIn[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: documentURL(path, nil)}
	}
	// Only names and versions of the definitions stay in memory.
	d.factory = apiextensionsinformers.NewSharedInformerFactoryWithOptions(client, 0,
		apiextensionsinformers.WithTransform(stripDefinition))
	definitions := d.factory.Apiextensions().V1().CustomResourceDefinitions()
	definitions.Informer()
	d.crds = definitions.Lister()
	return d
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

// Install serves the description on a mux.
func (d *Description) Install(paths *mux.PathRecorderMux) {
	paths.HandleFunc(v2Path, d.serveDocument)
	paths.HandleFunc(v3Path, d.serveList)
	paths.UnlistedHandlePrefix(v3Path+"/", http.HandlerFunc(d.serveGroup))
}

// Start starts to watch the custom resources. It is a hook of the API server.
func (d *Description) Start(hook genericapiserver.PostStartHookContext) error {
	d.factory.StartWithContext(hook)
	return nil
}

// listGroups returns the custom resource definitions by the path of the group and
// version that they serve.
func (d *Description) listGroups() (map[string][]*apiextensionsv1.CustomResourceDefinition, error) {
	all, err := d.crds.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	groups := map[string][]*apiextensionsv1.CustomResourceDefinition{}
	for _, crd := range all {
		if !isEstablished(crd) {
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

// isEstablished reports whether the API server serves the custom resource.
func isEstablished(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}

// hash returns the identity of a document. It follows from the server's version and
// from every definition in the document.
func hash(path string, crds []*apiextensionsv1.CustomResourceDefinition) string {
	sum := sha256.New()
	info := version.Get()
	_, _ = fmt.Fprintln(sum, info.GitVersion, info.GitCommit, path)
	for _, crd := range crds {
		_, _ = fmt.Fprintln(sum, crd.UID, crd.Generation)
	}
	return strings.ToUpper(hex.EncodeToString(sum.Sum(nil)))
}

// documentURL returns the address of a group's document, which changes with it.
func documentURL(path string, crds []*apiextensionsv1.CustomResourceDefinition) string {
	return v3Path + "/" + path + "?hash=" + hash(path, crds)
}

// serveList returns the addresses of all documents.
func (d *Description) serveList(w http.ResponseWriter, req *http.Request) {
	groups, err := d.listGroups()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	aggregated, err := d.aggregated.Paths()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	list := handler3.OpenAPIV3Discovery{Paths: maps.Clone(d.builtIn)}
	for path, crds := range groups {
		if _, ok := d.builtIn[path]; !ok {
			list.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: documentURL(path, crds)}
		}
	}
	for _, path := range aggregated {
		if _, ok := d.builtIn[path]; !ok {
			// Without a hash, clients ask again each time.
			list.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: v3Path + "/" + path}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) //nolint:errchkjson // it can be encoded, and nobody waits for an error
}

// serveGroup returns the document of one group and version.
func (d *Description) serveGroup(w http.ResponseWriter, req *http.Request) {
	path := strings.TrimPrefix(req.URL.Path, v3Path+"/")
	service := d.services[path]
	if service == nil && d.serveAggregated(w, req, path) {
		return
	}
	groups, err := d.listGroups()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	crds := groups[path]
	if service == nil && len(crds) == 0 {
		http.NotFound(w, req)
		return
	}
	if service != nil {
		crds = nil
	}
	asked := req.URL.Query().Get("hash")
	if asked != "" && asked != hash(path, crds) {
		http.Redirect(w, req, documentURL(path, crds), http.StatusMovedPermanently) //nolint:gosec // the path is one of ours
		return
	}
	answer, err := d.renderCounted(req, path, service, crds)
	if apierrors.IsTooManyRequests(err) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusTooManyRequests)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if asked != "" {
		answer.markImmutable()
	}
	answer.writeTo(w)
}

// buildGroup builds the document of one group and version. The caller holds the lock.
func (d *Description) buildGroup(ctx context.Context, path string, service *restful.WebService,
	crds []*apiextensionsv1.CustomResourceDefinition,
) (http.Handler, error) {
	paths := mux.NewPathRecorderMux("openapi")
	if service != nil {
		one := restful.NewContainer()
		one.Add(service)
		routes.OpenAPI{V3Config: d.v3}.InstallV3(one, paths)
		return paths, nil
	}
	var specs []*spec3.OpenAPI
	version := path[strings.LastIndex(path, "/")+1:]
	whole, err := d.getDefinitions(ctx, crds)
	if err != nil {
		return nil, err
	}
	if len(whole) == 0 {
		return http.NotFoundHandler(), nil
	}
	for _, crd := range whole {
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
	if err := served.RegisterOpenAPIV3VersionedService(v3Path, paths); err != nil {
		return nil, err
	}
	return paths, nil
}

// getDefinitions gets definitions with their schemas, without those that were deleted
// since they were listed.
func (d *Description) getDefinitions(ctx context.Context, listed []*apiextensionsv1.CustomResourceDefinition,
) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	var whole []*apiextensionsv1.CustomResourceDefinition
	for _, stripped := range listed {
		crd, err := d.client.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, stripped.Name, metav1.GetOptions{ResourceVersion: "0"})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot get custom resource definition %s: %w", stripped.Name, err)
		}
		whole = append(whole, crd)
	}
	return whole, nil
}

// serveDocument returns the description of everything in the v2 format.
func (d *Description) serveDocument(w http.ResponseWriter, req *http.Request) {
	document, err := d.getDocument(req.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	document.ServeHTTP(w, req)
}

// getDocument returns the v2 document. It builds one unless a current one is in memory.
func (d *Description) getDocument(ctx context.Context) (http.Handler, error) {
	crds, err := d.crds.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	crds = slices.DeleteFunc(slices.Clone(crds), func(crd *apiextensionsv1.CustomResourceDefinition) bool { return !isEstablished(crd) })
	slices.SortFunc(crds, func(a, b *apiextensionsv1.CustomResourceDefinition) int { return strings.Compare(a.Name, b.Name) })

	d.mu.Lock()
	defer d.mu.Unlock()
	if d.forget != nil {
		d.forget.Stop()
	}
	d.forget = time.AfterFunc(keepDocument, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.document, d.hash = nil, ""
	})
	now := hash(v2Path, crds)
	if d.document != nil && d.hash == now {
		return d.document, nil
	}
	whole, err := d.build(ctx, crds)
	if err != nil {
		return nil, err
	}
	paths := mux.NewPathRecorderMux("openapi")
	handler.NewOpenAPIService(whole).RegisterOpenAPIVersionedService(v2Path, paths)
	d.document, d.hash = paths, now
	return paths, nil
}

// build builds the v2 document.
func (d *Description) build(ctx context.Context, crds []*apiextensionsv1.CustomResourceDefinition) (*spec.Swagger, error) {
	var services []*restful.WebService
	for _, service := range d.services {
		services = append(services, service)
	}
	static, err := builder2.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(services), d.v2)
	if err != nil {
		return nil, fmt.Errorf("cannot describe the API: %w", err)
	}
	static.Definitions = handler.PruneDefaults(static.Definitions)
	var specs []*spec.Swagger
	definitions, err := d.getDefinitions(ctx, crds)
	if err != nil {
		return nil, err
	}
	for _, crd := range definitions {
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
