package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/server/healthz"
	cacheddiscovery "k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kcmconfig "k8s.io/kubernetes/cmd/kube-controller-manager/app/config"
	kcmoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	serviceaccountcontroller "k8s.io/kubernetes/pkg/controller/serviceaccount"
	"k8s.io/kubernetes/pkg/serviceaccount"

	controllersmetrics "k8s.io/component-base/metrics/prometheus/controllers"

	"github.com/sublet-dev/sublet/pkg/controlplane/informers"
)

// refreshDiscovery is how often the controllers look for new resources. The
// garbage collector and quota look twice as often by themselves.
const refreshDiscovery = time.Minute

// ResourceClaimController creates and deletes the ResourceClaims of pods from templates. It is needed if
// the host allocates devices.
const ResourceClaimController = names.ResourceClaimController

// TaintEvictionController deletes pods that do not tolerate a NoExecute taint of their node. It is only
// needed if the tenant may taint nodes, because the host evicts pods for its own taints.
const TaintEvictionController = names.TaintEvictionController

// DefaultControllers returns the controllers that a virtual cluster needs. It omits those for nodes,
// volumes, clouds and kubelet certificates, which are the host's business. It also omits the one for
// further ServiceCIDRs, which are the host's too. That controller would panic on running informers,
// because it uses its lister before it is set.
func DefaultControllers() []string {
	return []string{
		names.CertificateSigningRequestCleanerController,
		names.CertificateSigningRequestSigningController,
		names.ClusterRoleAggregationController,
		names.CronJobController,
		names.DaemonSetController,
		names.DeploymentController,
		names.DisruptionController,
		names.EndpointSliceController,
		names.EndpointSliceMirroringController,
		names.EndpointsController,
		names.EphemeralVolumeController,
		names.GarbageCollectorController,
		names.HorizontalPodAutoscalerController,
		names.JobController,
		names.KubeAPIServerClusterTrustBundlePublisherController,
		names.NamespaceController,
		names.PersistentVolumeClaimProtectionController,
		names.PersistentVolumeProtectionController,
		names.PodCertificateRequestCleanerController,
		names.ReplicaSetController,
		names.ReplicationControllerController,
		names.ResourceQuotaController,
		names.RootCACertificatePublisherController,
		names.ServiceAccountController,
		names.ServiceAccountTokenController,
		names.StatefulSetController,
		names.TTLAfterFinishedController,
		names.ValidatingAdmissionPolicyStatusController,
		names.VolumeAttributesClassProtectionController,
	}
}

// controllers runs kube-controller-manager's controllers on the API server's
// informers, without the manager's flags, ports and leases.
type controllers struct {
	config *Config
	plane  *ControlPlane
	server *apiServer

	files []*secretFile
}

// RunControllers runs the controllers until ctx ends, once the API server of Run has
// been bootstrapped. It may be called again after it has returned: of several replicas,
// only the leader runs them, for each term of its own. It returns nil if ctx has ended.
func (c *ControlPlane) RunControllers(ctx context.Context) error {
	select {
	case <-c.booted:
	case <-ctx.Done():
		return nil
	}
	term := &controllers{config: &c.config, plane: c, server: c.server.Load()}
	return term.keep(ctx)
}

// controllersTask is the name of the controllers among the tasks of a start.
const controllersTask = "controllers"

// keep runs the controllers of one term. It retries if they cannot be created, because an aggregated
// API server of the tenant may be the reason.
func (m *controllers) keep(ctx context.Context) error {
	tasks := m.plane.tasks.Load()
	defer tasks.forget(controllersTask)
	for pause := firstRepair; ; pause = min(2*pause, lastRepair) {
		err := m.run(ctx, func() { tasks.recordSuccess(controllersTask) })
		if ctx.Err() != nil {
			return nil // the term has ended
		}
		if _, ok := errors.AsType[*creationError](err); !ok {
			return err
		}
		tasks.recordFailure(controllersTask, err)
		select {
		case <-ctx.Done():
			return nil
		case <-m.config.Clock.After(pause):
		}
	}
}

// creationError reports that the controllers could not be created.
type creationError struct{ cause error }

// Error returns the cause.
func (e *creationError) Error() string {
	return fmt.Sprintf("cannot create the controllers: %v", e.cause)
}

// Unwrap returns the cause.
func (e *creationError) Unwrap() error { return e.cause }

// run builds and runs the controllers. It calls created once they are built.
func (m *controllers) run(ctx context.Context, created func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		for _, file := range m.files {
			file.release()
		}
		m.files = nil
	}()
	component, err := m.componentConfig()
	if err != nil {
		return fmt.Errorf("cannot configure the controllers: %w", err)
	}
	gated := informers.NewGated(m.server.informers, m.server.lifetime)
	defer gated.Close()
	builder := clientBuilder{plane: m.plane, discovery: newFirstDiscovery()}
	context, err := m.controllerContext(ctx, component, gated, builder)
	if err != nil {
		return fmt.Errorf("cannot configure the controllers: %w", err)
	}
	if err := checkDiscovery(builder); err != nil {
		return &creationError{err}
	}
	all, err := app.BuildControllers(ctx, context, descriptorsAtStart(), nil, noHealthChecks{})
	if err != nil {
		return &creationError{err}
	}
	if m.isEnabled(component, names.ServiceAccountTokenController) {
		tokens, err := m.tokens(ctx, context)
		if err != nil {
			return &creationError{err}
		}
		all = append(all, tokens)
	}
	if m.isEnabled(component, names.ValidatingAdmissionPolicyStatusController) {
		all = append(all, newPolicyController(context))
	}
	context.InformerFactory.Start(ctx.Done())
	context.ObjectOrMetadataInformerFactory.Start(ctx.Done())
	close(context.InformersStarted)
	gated.Open()
	builder.discovery.end()
	created()
	if !app.RunControllers(ctx, context, all, 0, controllersGrace) {
		klog.InfoS("Some controllers did not stop in time")
	}
	if ctx.Err() == nil {
		return errors.New("the controllers ended although nobody stopped them")
	}
	return nil
}

// checkDiscovery checks that discovery returns any resources. Otherwise the constructor of upstream's namespace
// controller, which asks for the same and gets the same answers, would end the process.
func checkDiscovery(builder clientBuilder) error {
	client, err := builder.Client(namespaceController)
	if err != nil {
		return err
	}
	if resources, err := client.Discovery().ServerPreferredNamespacedResources(); len(resources) == 0 {
		return fmt.Errorf("cannot discover any resources: %w", err)
	}
	return nil
}

// descriptorsAtStart returns the controllers that are built at the start.
func descriptorsAtStart() map[string]*app.ControllerDescriptor {
	descriptors := app.NewControllerDescriptors()
	delete(descriptors, names.ValidatingAdmissionPolicyStatusController)
	return descriptors
}

// isEnabled reports whether a controller is to run.
func (m *controllers) isEnabled(component *kcmconfig.Config, name string) bool {
	return app.ControllerContext{ComponentConfig: component.ComponentConfig}.
		IsControllerEnabled(app.NewControllerDescriptors()[name])
}

// componentConfig returns upstream's default configuration with our controllers and
// keys.
func (m *controllers) componentConfig() (*kcmconfig.Config, error) {
	o, err := kcmoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return nil, err
	}
	trusted, err := m.file("ca.crt", m.config.PKI.CA())
	if err != nil {
		return nil, err
	}
	caCert, err := m.file("signing-ca.crt", m.config.PKI.SigningCA())
	if err != nil {
		return nil, err
	}
	caKey, err := m.file("ca.key", m.config.PKI.CAKey())
	if err != nil {
		return nil, err
	}
	o.SecureServing.BindPort = 0
	o.Generic.Controllers = m.config.Controllers
	o.SAController.RootCAFile = trusted
	o.CSRSigningController.ClusterSigningCertFile = caCert
	o.CSRSigningController.ClusterSigningKeyFile = caKey
	component := &kcmconfig.Config{}
	if err := o.ApplyTo(component, app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases()); err != nil {
		return nil, err
	}
	// The start interval spreads controllers over time, to spare a distant API
	// server.
	component.ComponentConfig.Generic.ControllerStartInterval.Duration = 0
	return component, nil
}

// file keeps content in a file for the time of the term, and returns its path.
func (m *controllers) file(name string, content []byte) (string, error) {
	file, err := newSecretFile(name, content)
	if err != nil {
		return "", err
	}
	m.files = append(m.files, file)
	return file.path, nil
}

// controllerContext returns a context as upstream's CreateControllerContext does, with the API server's
// informers. It registers no process-wide name, because there may be several control planes.
func (m *controllers) controllerContext(ctx context.Context, component *kcmconfig.Config, gated *informers.Gated, builder clientBuilder) (app.ControllerContext, error) {
	metadataConfig, err := builder.Config("metadata-informers")
	if err != nil {
		return app.ControllerContext{}, err
	}
	metadataClient, err := metadata.NewForConfig(metadataConfig)
	if err != nil {
		return app.ControllerContext{}, err
	}
	metadataInformers := metadatainformer.NewSharedInformerFactoryWithOptions(metadataClient, resync,
		metadatainformer.WithTransform(stripManagedFields))
	discovery, err := builder.DiscoveryClient("controller-discovery")
	if err != nil {
		return app.ControllerContext{}, err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cacheddiscovery.NewMemCacheClient(discovery))
	go wait.Until(mapper.Reset, refreshDiscovery, ctx.Done())

	c := app.ControllerContext{
		ClientBuilder:                   builder,
		InformerFactory:                 gated,
		ObjectOrMetadataInformerFactory: informerfactory.NewInformerFactory(gated, metadataInformers),
		ComponentConfig:                 component.ComponentConfig,
		RESTMapper:                      mapper,
		InformersStarted:                make(chan struct{}),
		ResyncPeriod:                    func() time.Duration { return resync },
		ControllerManagerMetrics:        controllersmetrics.NewControllerManagerMetrics("kube-controller-manager"),
	}
	if m.isEnabled(component, names.GarbageCollectorController) {
		ignored := map[schema.GroupResource]struct{}{}
		for _, r := range component.ComponentConfig.GarbageCollectorController.GCIgnoredResources {
			ignored[schema.GroupResource{Group: r.Group, Resource: r.Resource}] = struct{}{}
		}
		c.GraphBuilder = garbagecollector.NewDependencyGraphBuilder(ctx, metadataClient, mapper, ignored,
			c.ObjectOrMetadataInformerFactory, c.InformersStarted)
	}
	return c, nil
}

// tokens returns the controller that fills Secrets of the type service-account-token.
// Upstream builds it apart from the others, from files.
func (m *controllers) tokens(ctx context.Context, c app.ControllerContext) (app.Controller, error) {
	client, err := c.NewClient("tokens-controller")
	if err != nil {
		return nil, err
	}
	generator, err := serviceaccount.JWTTokenGenerator(serviceaccount.LegacyIssuer, m.config.PKI.ServiceAccountKey())
	if err != nil {
		return nil, err
	}
	tokens, err := serviceaccountcontroller.NewTokensController(klog.FromContext(ctx),
		c.InformerFactory.Core().V1().ServiceAccounts(), c.InformerFactory.Core().V1().Secrets(), client,
		serviceaccountcontroller.TokensControllerOptions{TokenGenerator: generator, RootCA: m.config.PKI.CA()})
	if err != nil {
		return nil, err
	}
	return tokensController{tokens}, nil
}

type tokensController struct {
	*serviceaccountcontroller.TokensController
}

// Name returns upstream's name of the controller.
func (tokensController) Name() string { return names.ServiceAccountTokenController }

// Run runs the controller with upstream's number of workers.
func (t tokensController) Run(ctx context.Context) { t.TokensController.Run(ctx, 5) }

// noHealthChecks ignores the health checks of controllers, because they always pass.
type noHealthChecks struct{}

// AddHealthChecker does nothing.
func (noHealthChecks) AddHealthChecker(...healthz.HealthChecker) {}

// stripManagedFields removes the managedFields, which no controller reads and which are often half of
// an object.
func stripManagedFields(obj any) (any, error) {
	if accessor, err := meta.Accessor(obj); err == nil && accessor.GetManagedFields() != nil {
		accessor.SetManagedFields(nil)
	}
	return obj, nil
}
