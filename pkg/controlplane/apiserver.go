package controlplane

import (
	"fmt"
	"net/http"

	etcd "go.etcd.io/etcd/client/v3/kubernetes"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	apistorage "k8s.io/apiserver/pkg/storage"
	etcd3metrics "k8s.io/apiserver/pkg/storage/etcd3/metrics"
	openapiutil "k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1client "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/rest"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	apiregistrationinformers "k8s.io/kube-aggregator/pkg/client/informers/externalversions/apiregistration/v1"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	kubecontrolplane "k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
	"k8s.io/kubernetes/pkg/kubeapiserver"

	"github.com/sublet-dev/sublet/pkg/connlimit"
	"github.com/sublet-dev/sublet/pkg/controlplane/audit"
	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/controlplane/openapi"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	_ "github.com/sublet-dev/sublet/pkg/controlplane/quantities" // no endless decoding
	_ "github.com/sublet-dev/sublet/pkg/controlplane/queues"     // no metrics of upstream's queues
	"github.com/sublet-dev/sublet/pkg/controlplane/requestmemory"
)

// An apiServer is an assembled API server that has not been started.
type apiServer struct {
	aggregator *aggregator.APIAggregator
	informers  informers.SharedInformerFactory
	loopback   *rest.Config
	openAPI    *openapi.Description
	discovery  *aggregatedDiscovery
	tokens     *tokenMint
	proxyFiles []*secretFile
	// lifetime is closed when the API server stops; its informers run until then.
	lifetime <-chan struct{}
	builtin  builtinGroups
	// extra has the ranges of Service addresses and node ports.
	extra *kubecontrolplane.Extra
	// nodePorts is the storage of the record of node ports.
	nodePorts      apistorage.Interface
	closeNodePorts func()
	stopCompactor  func()
}

// assembly holds what the steps of building an API server share.
type assembly struct {
	config   *Config
	server   *apiServer // what is being built
	loopback *rest.Config
	serving  *pki.Leaf
	clientCA dynamiccertificates.CAContentProvider
	proxyCA  dynamiccertificates.CAContentProvider
	store    sharedStore
	memory   *requestmemory.Budget
	endpoint string
	ready    <-chan struct{}
	// dryRunTransport returns the transport of a request's dry run.
	dryRunTransport  func(*dryRun) http.RoundTripper
	controllersError func() error // why the controllers do not run
}

// newAPIServer assembles the API server: kube, custom resources and
// aggregation, all on the shared store and on the in-memory loopback.
func newAPIServer(c *ControlPlane, client *etcd.Client, serving, frontProxy *pki.Leaf) (_ *apiServer, err error) {
	a := &assembly{
		config: &c.config, serving: serving, endpoint: c.endpoint, ready: c.ready,
		loopback: c.ownConfig(), memory: requestmemory.NewBudget(c.config.requestMemory),
		store: newSharedStore(client, c.encryption.Load(), c.config.Writes, c.config.Clock), dryRunTransport: c.dryRunTransport, controllersError: c.controllersError,
	}
	if a.clientCA, err = dynamiccertificates.NewStaticCAContent("client-ca", c.config.PKI.CA()); err != nil {
		return nil, err
	}
	if a.proxyCA, err = dynamiccertificates.NewStaticCAContent("front-proxy-ca", c.config.PKI.FrontProxyCA()); err != nil {
		return nil, err
	}
	s := &apiServer{loopback: a.loopback, builtin: builtinGroups{added: c.config.addedVersions(), synced: c.config.SyncedGroups}, stopCompactor: a.store.compact(c.config.Storage.Capabilities(), c.config.Clock)}
	a.server = s
	defer func() {
		if err != nil {
			s.closeFiles()
		}
	}()
	proxyCert, proxyKey, err := s.frontProxyFiles(frontProxy)
	if err != nil {
		return nil, err
	}
	opts, err := a.options(proxyCert, proxyKey)
	if err != nil {
		return nil, err
	}
	completed, err := a.configure(s, opts)
	if err != nil {
		return nil, err
	}
	s.aggregator, err = app.CreateServerChain(completed)
	if err != nil {
		return nil, fmt.Errorf("cannot create the API server: %w", err)
	}
	s.builtin.fill(s.aggregator.GenericAPIServer)
	if err := installAdded(s.aggregator.GenericAPIServer, &c.config); err != nil {
		return nil, err
	}
	s.extra = completed.KubeAPIs.Extra
	s.openAPI, err = s.describe(completed, frontProxy)
	if err != nil {
		return nil, fmt.Errorf("cannot describe the API: %w", err)
	}
	return s, nil
}

// frontProxyFiles writes the front proxy's certificate into files for the aggregator.
func (s *apiServer) frontProxyFiles(leaf *pki.Leaf) (cert, key string, err error) {
	pair := leaf.Current()
	for _, content := range []struct {
		name string
		pem  []byte
	}{{"front-proxy.crt", pair.Cert}, {"front-proxy.key", pair.Key}} {
		file, err := newSecretFile(content.name, content.pem)
		if err != nil {
			return "", "", err
		}
		s.proxyFiles = append(s.proxyFiles, file)
	}
	certFile, keyFile := s.proxyFiles[0], s.proxyFiles[1]
	leaf.OnRenewal(func() {
		next := leaf.Current()
		// The aggregator rereads the files once a minute and ignores a mismatched pair.
		_ = certFile.replace(next.Cert)
		_ = keyFile.replace(next.Key)
	})
	return certFile.path, keyFile.path, nil
}

// apiServices returns the informer of APIServices.
func (s *apiServer) apiServices() apiregistrationinformers.APIServiceInformer {
	return s.aggregator.APIRegistrationInformers.Apiregistration().V1().APIServices()
}

func (s *apiServer) closeFiles() {
	for _, file := range s.proxyFiles {
		file.release()
	}
	if s.closeNodePorts != nil {
		s.closeNodePorts()
	}
	s.stopCompactor()
}

// configure builds the three configurations of the chain of API servers.
func (a *assembly) configure(s *apiServer, opts options.CompletedOptions) (app.CompletedConfig, error) {
	generic, factory, storageFactory, err := a.genericConfig(opts)
	if err != nil {
		return app.CompletedConfig{}, fmt.Errorf("cannot configure the API server: %w", err)
	}
	s.informers = factory
	s.tokens = newTokenMint(opts.ServiceAccountIssuer, generic.Authentication.APIAudiences, a.config.Tokens, factory)

	if s.nodePorts, s.closeNodePorts, err = newNodePortStorage(storageFactory, a.store); err != nil {
		return app.CompletedConfig{}, err
	}

	kube, resolver, plugins, err := app.CreateKubeAPIServerConfig(opts, generic, factory, storageFactory)
	if err != nil {
		return app.CompletedConfig{}, fmt.Errorf("cannot configure the API server: %w", err)
	}
	a.adjust(kube)

	authentication := webhook.NewDefaultAuthenticationInfoResolverWrapper(kube.ControlPlane.ProxyTransport,
		generic.EgressSelector, generic.LoopbackClientConfig, generic.TracerProvider)
	boundedAuthentication := func(inner webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
		return boundedWebhooks(authentication(inner))
	}
	extensions, err := controlplaneapiserver.CreateAPIExtensionsConfig(*kube.ControlPlane.Generic,
		factory, plugins, opts.CompletedOptions, opts.MasterCount, resolver, boundedAuthentication)
	if err != nil {
		return app.CompletedConfig{}, fmt.Errorf("cannot configure custom resources: %w", err)
	}
	extensions.GenericConfig.RESTOptionsGetter = a.store.wrap(extensions.GenericConfig.RESTOptionsGetter)
	extensions.ExtraConfig.CRDRESTOptionsGetter = a.store.wrap(extensions.ExtraConfig.CRDRESTOptionsGetter)

	aggregation, err := controlplaneapiserver.CreateAggregatorConfig(*kube.ControlPlane.Generic, opts.CompletedOptions,
		factory, resolver, kube.ControlPlane.ProxyTransport, kube.ControlPlane.Extra.PeerProxy, plugins)
	if err != nil {
		return app.CompletedConfig{}, fmt.Errorf("cannot configure aggregation: %w", err)
	}
	aggregation.GenericConfig.AdmissionControl = admission.NewChainHandler(
		aggregation.GenericConfig.AdmissionControl, builtinGuard{&s.builtin})
	aggregation.GenericConfig.RESTOptionsGetter = a.store.wrap(aggregation.GenericConfig.RESTOptionsGetter)

	// The monitors that the options register would dial the store on the first
	// scrape of /metrics.
	etcd3metrics.SetStorageMonitorGetter(func() ([]etcd3metrics.Monitor, error) { return nil, nil })

	config := app.Config{Options: opts, KubeAPIs: kube, ApiExtensions: extensions, Aggregator: aggregation}
	return config.Complete()
}

// adjust changes parts of the configuration of the kube API server for which upstream has no options.
func (a *assembly) adjust(kube *kubecontrolplane.Config) {
	c := a.config
	reachKubelets(&kube.Extra.KubeletClientConfig, c.KubeletDial)
	if c.KubernetesServiceIP != nil {
		kube.Extra.APIServerServiceIP = c.KubernetesServiceIP
	}
	// A single API server needs no lease of its own. A loopback address is no endpoint
	// for anybody.
	if c.Replicas <= 1 && !c.AdvertiseAddress.IsLoopback() {
		kube.Extra.EndpointReconcilerConfig.Reconciler = reconcilers.NewMasterCountEndpointReconciler(1,
			reconcilers.NewEndpointsAdapter(
				corev1client.NewForConfigOrDie(a.loopback), discoveryv1client.NewForConfigOrDie(a.loopback)))
	}

	// Aggregated API servers learn from this whom they may trust. The server
	// itself accepts no front proxy.
	trust := &kube.ControlPlane.ClusterAuthenticationInfo
	trust.RequestHeaderCA = a.proxyCA
	trust.RequestHeaderUsernameHeaders = headerrequest.StaticStringSlice{"X-Remote-User"}
	trust.RequestHeaderUIDHeaders = headerrequest.StaticStringSlice{"X-Remote-Uid"}
	trust.RequestHeaderGroupHeaders = headerrequest.StaticStringSlice{"X-Remote-Group"}
	trust.RequestHeaderExtraHeaderPrefixes = headerrequest.StaticStringSlice{"X-Remote-Extra-"}
	trust.RequestHeaderAllowedNames = headerrequest.StaticStringSlice{pki.FrontProxyUser}

	// Ours run after the whole upstream chain, webhooks included: they see the
	// object as it will be stored.
	chain := []admission.Interface{kube.ControlPlane.Generic.AdmissionControl, memoryGuard{isMemoryShort}}
	for _, plugin := range c.Admission {
		chain = append(chain, plugin.Interface)
	}
	kube.ControlPlane.Generic.AdmissionControl = admission.NewChainHandler(chain...)
	if len(c.HostFirst) > 0 {
		kube.ControlPlane.Generic.AdmissionControl = &hostFirstChain{
			Interface: kube.ControlPlane.Generic.AdmissionControl, steps: c.HostFirst, transport: a.dryRunTransport,
		}
	}
}

// genericConfig returns the common configuration of the three API servers. It follows upstream, but
// reads no files, uses the in-memory loopback, and recognises callers in the process.
func (a *assembly) genericConfig(opts options.CompletedOptions) (
	*genericapiserver.Config, informers.SharedInformerFactory, *serverstorage.DefaultStorageFactory, error,
) {
	config := genericapiserver.NewConfig(legacyscheme.Codecs)
	config.LoopbackClientConfig = a.loopback
	config.SecureServing = &genericapiserver.SecureServingInfo{
		Listener: connlimit.Listener(a.config.Listener, "api", func() int64 {
			return requestmemory.MostRequests(a.config.requestMemory())
		}),
		Cert: servingCert{a.serving},
	}
	if err := opts.GenericServerRunOptions.ApplyTo(config); err != nil {
		return nil, nil, nil, err
	}
	config.EgressSelector = a.egressSelector()
	client, err := kubernetes.NewForConfig(a.loopback)
	if err != nil {
		return nil, nil, nil, err
	}
	factory, err := a.newInformers()
	if err != nil {
		return nil, nil, nil, err
	}
	if err := opts.Features.ApplyTo(config, client, factory); err != nil {
		return nil, nil, nil, err
	}
	resources := kubecontrolplane.DefaultAPIResourceConfigSource()
	if err := opts.APIEnablement.ApplyTo(config, resources, legacyscheme.Scheme); err != nil {
		return nil, nil, nil, err
	}
	setOpenAPI(config, a.config.Groups)
	config.EnableMetrics = !a.config.ownsMetrics()
	config.SkipOpenAPIInstallation = true // see package openapi
	config.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	config.LongRunningFunc = isLongRunning()
	if a.config.Name != "" {
		config.APIServerID = serverID(a.config.Name)
	}
	config.DisabledPostStartHooks.Insert(disabledHooks(a.config)...)

	storageFactory, err := a.storage(config, opts)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := a.access(config, opts, client, factory); err != nil {
		return nil, nil, nil, err
	}
	if config.AuditBackend, config.AuditPolicyRuleEvaluator, err = audit.New(a.config.Audit); err != nil {
		return nil, nil, nil, err
	}
	config.BuildHandlerChainFunc = a.handlerChain
	return config, factory, storageFactory, nil
}

// setOpenAPI sets the OpenAPI configuration, including the added groups.
func setOpenAPI(config *genericapiserver.Config, added []*Group) {
	definitions := openapiutil.GetOpenAPIDefinitionsWithoutDisabledFeatures(generatedopenapi.GetOpenAPIDefinitions)
	schemes := []*runtime.Scheme{legacyscheme.Scheme, apiextensions.Scheme, aggregatorscheme.Scheme}
	for _, group := range added {
		schemes = append(schemes, group.Scheme)
	}
	namer := openapinamer.NewDefinitionNamer(schemes...)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	config.OpenAPIConfig.Info.Title = "Kubernetes"
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	config.OpenAPIV3Config.Info.Title = "Kubernetes"
}

// storage configures the storage of the built-in resources on the shared store.
func (a *assembly) storage(config *genericapiserver.Config, opts options.CompletedOptions) (*serverstorage.DefaultStorageFactory, error) {
	factoryConfig := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(config.EffectiveVersion)
	factoryConfig.APIResourceConfig = config.MergedResourceConfig
	factoryConfig.DefaultResourceEncoding.SetEffectiveVersion(config.EffectiveVersion)
	factory, err := factoryConfig.Complete(opts.Etcd).New()
	if err != nil {
		return nil, err
	}
	factory.StorageConfig.StorageObjectCountTracker = config.StorageObjectCountTracker
	config.RESTOptionsGetter = a.store.wrap(opts.Etcd.CreateRESTOptionsGetter(factory, nil))

	a.addStoreCheck(config)
	return factory, nil
}

// access configures authentication and authorization.
func (a *assembly) access(config *genericapiserver.Config, opts options.CompletedOptions, client kubernetes.Interface,
	factory informers.SharedInformerFactory,
) error {
	ctx := wait.ContextForChannel(config.DrainedNotify())
	if err := opts.Authentication.ApplyTo(ctx, &config.Authentication, config.SecureServing, nil,
		config.OpenAPIConfig, config.OpenAPIV3Config, client, factory, config.APIServerID); err != nil {
		return err
	}
	callers := config.Authentication.Authenticator
	if a.config.Issuers != nil {
		callers = a.config.Issuers.Wrap(callers, config.Authentication.APIAudiences)
	}
	network := withNodeOfPod(callers, factory.Core().V1().Pods().Lister(), factory.Core().V1().Nodes().Lister())
	config.Authentication.Authenticator = authenticator.RequestFunc(
		func(req *http.Request) (*authenticator.Response, bool, error) {
			if who, ok := loopback.UserOf(req.Context()); ok {
				return &authenticator.Response{User: who}, true, nil
			}
			return network.AuthenticateRequest(req)
		})

	var err error
	config.Authorization.Authorizer, config.RuleResolver, _, err = controlplaneapiserver.BuildAuthorizer(
		ctx, opts.CompletedOptions, nil, config.APIServerID, factory)
	return err
}

// handlerChain builds the chain of handlers, with a shorter chain for callers in the process. While the
// server starts, they use the full chain: it answers 503 instead of 404 for resources that are not
// installed yet.
func (a *assembly) handlerChain(api http.Handler, config *genericapiserver.Config) http.Handler {
	api = a.withBoundedAggregation(a.withComponents(withRequestState(api)))
	inProcess := loopbackChain(api, config)
	if wrap := a.config.WrapAPI; wrap != nil {
		api = wrap(api)
	}
	api = a.withRequestMemory(a.withBoundedNesting(api, config.MaxRequestBodyBytes), config.LongRunningFunc)
	bodies := &pendingBodies{requestMemory: a.config.requestMemory}
	network := withRequestCount(bodies.denyExcess(genericapiserver.DefaultBuildHandlerChain(api, config)), config, a.config.OnRequest)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if isPlainLoopback(req) && isClosed(a.ready) {
			inProcess.ServeHTTP(w, req)
			return
		}
		network.ServeHTTP(w, req)
	})
}
