package controlplane

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"

	"github.com/emicklei/go-restful/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/proxy"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"
	apiserverproxy "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/transport"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	"k8s.io/kube-aggregator/pkg/apiserver"
	apiregistrationlisters "k8s.io/kube-aggregator/pkg/client/listers/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/controllers/status/remote"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/utils/ptr"

	"github.com/sublet-dev/sublet/pkg/controlplane/openapi"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/controlplane/routes"
)

// describe returns the OpenAPI description, including that of aggregated API servers. It frees what nothing reads
// after that.
func (s *apiServer) describe(config app.CompletedConfig, frontProxy *pki.Leaf) (*openapi.Description, error) {
	aggregated := &aggregatedDocuments{
		services:   s.apiServices().Lister(),
		resolver:   config.Aggregator.ExtraConfig.ServiceResolver,
		frontProxy: frontProxy,
	}
	generic := config.KubeAPIs.ControlPlane.Generic
	if selector := generic.EgressSelector; selector != nil {
		dial, err := selector.Lookup(egressselector.Cluster.AsNetworkContext())
		if err != nil {
			return nil, err
		}
		aggregated.dial = &transport.DialHolder{Dial: dial}
	}
	s.discovery = &aggregatedDiscovery{services: s.apiServices(), target: generic.AggregatedDiscoveryGroupManager, serve: aggregated.serve}
	releaseDefinitions(generic.OpenAPIV3Config)
	services := webServices(s.aggregator.GenericAPIServer)
	routes.ShareExpressions(services)
	return openapi.New(services, generic.OpenAPIConfig, generic.OpenAPIV3Config, aggregated, s.loopback)
}

// webServices returns what the servers of the chain serve.
func webServices(chain *genericapiserver.GenericAPIServer) []*restful.WebService {
	var services []*restful.WebService
	for server := chain; server != nil; {
		services = append(services, server.Handler.GoRestfulContainer.RegisteredWebServices()...)
		server, _ = server.NextDelegate().(*genericapiserver.GenericAPIServer)
	}
	return services
}

// releaseDefinitions frees the schemas of the built-in types, about 7 MB. Server-side apply has already
// read what it needs, and each description builds its own. The server still has pointers to the
// schemas that nobody reads, so they are emptied. Schemas that custom resources refer to stay.
func releaseDefinitions(config *common.OpenAPIV3Config) {
	for name, definition := range config.Definitions {
		if !strings.Contains(name, "apimachinery") && !strings.Contains(name, "apiextensions") {
			clear(definition.Schema.Properties)
		}
	}
	config.Definitions = nil
}

// aggregatedDocuments proxies the OpenAPI documents of aggregated API servers. It requests them on
// behalf of the user, as the proxy of their APIs does.
type aggregatedDocuments struct {
	services   apiregistrationlisters.APIServiceLister
	resolver   apiserver.ServiceResolver
	dial       *transport.DialHolder // nil to dial directly
	frontProxy *pki.Leaf
}

// Paths implements openapi.Aggregated. It leaves out servers that are not available.
func (d *aggregatedDocuments) Paths() ([]string, error) {
	all, err := d.services.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("cannot list APIServices: %w", err)
	}
	var paths []string
	for _, service := range all {
		if isAggregated(service) {
			paths = append(paths, "apis/"+service.Spec.Group+"/"+service.Spec.Version)
		}
	}
	return paths, nil
}

// Find implements openapi.Aggregated.
func (d *aggregatedDocuments) Find(path string) (http.Handler, error) {
	group, version, ok := strings.Cut(strings.TrimPrefix(path, "apis/"), "/")
	if !ok || strings.Contains(version, "/") {
		return nil, nil //nolint:nilnil // none is no error
	}
	service, err := d.services.Get(version + "." + group)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // as above
	}
	if err != nil {
		return nil, fmt.Errorf("cannot get APIService %s.%s: %w", version, group, err)
	}
	if !isAggregated(service) {
		return nil, nil //nolint:nilnil // as above
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { d.serve(w, req, service, math.MaxInt64) }), nil
}

// isAggregated reports whether another API server serves the group of an APIService, and is
// available.
func isAggregated(service *apiregistrationv1.APIService) bool {
	return service.Spec.Service != nil && apiregistration.IsAPIServiceConditionTrue(service, apiregistrationv1.Available)
}

// serve proxies a request to the API server of an APIService, and an answer of up to limit bytes back.
func (d *aggregatedDocuments) serve(w http.ResponseWriter, req *http.Request, service *apiregistrationv1.APIService, limit int64) {
	user, ok := genericapirequest.UserFrom(req.Context())
	if !ok {
		http.Error(w, "The request has no user.", http.StatusInternalServerError)
		return
	}
	target := service.Spec.Service
	endpoint, err := d.resolver.ResolveEndpoint(target.Namespace, target.Name, ptr.Deref(target.Port, defaultPort))
	if err != nil {
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	pair := d.frontProxy.Current()
	config := remote.BuildTransportConfig(d.dial, pair.Cert, pair.Key, service)
	config.DisableCompression = true // what is decompressed has no limit
	trip, err := transport.New(config)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	location := &url.URL{Scheme: "https", Host: endpoint.Host, Path: req.URL.Path}
	proxied, cancel := apiserverproxy.NewRequestForProxy(location, req)
	defer cancel()
	handler := proxy.NewUpgradeAwareHandler(location,
		transport.NewAuthProxyRoundTripper(user.GetName(), user.GetUID(), user.GetGroups(), user.GetExtra(),
			boundedAnswers{trip, func(*http.Request) int64 { return limit }}), true, false, proxyErrors{})
	handler.RejectForwardingRedirects = true
	handler.ServeHTTP(w, proxied)
}

// defaultPort is the port of the Service of an APIService that names none.
const defaultPort = 443

// proxyErrors answers for a server that does not respond.
type proxyErrors struct{}

// Error implements proxy.ErrorResponder.
func (proxyErrors) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}
