package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/admission"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/app/operator"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/encryption"
	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/egress"
	"github.com/sublet-dev/sublet/pkg/nodeproxy"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
)

// User names of the server's own clients in the virtual cluster. They appear in audit logs and
// managed fields. Their requests are recognized by the loopback transport, never by these names,
// which a tenant could impersonate.
const (
	syncerUser    = "system:sublet:syncer"
	dnsUser       = "system:sublet:dns"
	nodeProxyUser = "system:sublet:node-proxy"
	electionUser  = "system:sublet:election"
	healthUser    = "system:sublet:health"
)

// open builds all that the control plane is built from: it listens, and knows its store. It starts nothing.
func (a *connectedApp) open(ctx context.Context) (*openApp, error) {
	if err := checkSelectors(&a.values.Sync); err != nil {
		return nil, err
	}
	api, destinations := &virtualAPI{}, &egress.Objects{}
	proxy, err := nodeproxy.New(nodeproxy.Options{
		Host: a.host, Cluster: a.cluster(), VirtualPod: api.getPod, Register: legacyregistry.Register,
		MaxStreams: int64(a.values.Policies.Streams.Max),
	})
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", a.options.apiAddress())
	if err != nil {
		return nil, fmt.Errorf("cannot serve the virtual API: %w", err)
	}
	others := a.newOtherReplicas()
	store, err := a.newStore(ctx, others)
	if err != nil {
		return nil, err
	}
	dialer, err := a.newDialer(destinations)
	if err != nil {
		return nil, err
	}
	issuers, issuersFile := a.newIssuers()
	return &openApp{
		connectedApp: a, api: api, others: others, proxy: proxy, listener: listener, store: store,
		dialer: dialer, destinations: destinations, issuers: issuers, issuersFile: issuersFile,
		address: a.newAddress(), reporter: a.newReporter(api.storeClient),
	}, nil
}

// newAddress returns the part that follows the address of the Service, nil if the settings fix it.
func (a *connectedApp) newAddress() *host.Address {
	if !a.values.FollowsAddress() {
		return nil
	}
	return &host.Address{Client: a.ownClient, Release: a.names, Clock: clock.RealClock{}}
}

// build builds the parts that every replica runs. It starts none of them.
func (a *openApp) build() (*builtApp, error) {
	plane, err := a.newControlPlane()
	if err != nil {
		return nil, err
	}
	if err = a.api.connect(plane); err != nil {
		return nil, err
	}
	definitions, err := a.newDefinitions(plane)
	if err != nil {
		return nil, err
	}
	a.api.definitions = definitions
	dns, err := a.newDNS(plane)
	if err != nil {
		return nil, err
	}
	secrets, err := a.newSecrets(plane)
	if err != nil {
		return nil, err
	}
	backups, err := a.newBackups()
	if err != nil {
		return nil, err
	}
	scaler, err := a.newScaler()
	if err != nil {
		return nil, err
	}
	built := &builtApp{
		openApp: a, controlPlane: plane, definitions: definitions, dns: dns, secrets: secrets, backups: backups, scaler: scaler,
	}
	return built, built.connectHealth()
}

// newControlPlane returns the control plane.
func (a *openApp) newControlPlane() (*controlplane.ControlPlane, error) {
	config := a.controlPlaneConfig()
	if a.address != nil {
		config.Address = a.address
	}
	var err error
	if config.Groups, err = a.addedGroups(a.api.readerClient); err != nil {
		return nil, err
	}
	kubelets, err := a.newKubeletMetrics(a.api.readerClient)
	if err != nil {
		return nil, err
	}
	config.WrapAPI = kubelets.Wrap
	return controlplane.New(config)
}

// controlPlaneConfig returns the config of the control plane.
func (a *openApp) controlPlaneConfig() controlplane.Config {
	service := a.names.Service()
	return controlplane.Config{
		Storage:             a.store.Backend,
		PKI:                 a.bundle,
		Listener:            a.listener,
		AdvertiseAddress:    a.options.advertiseAddress(),
		ServiceCIDR:         a.facts.ServiceCIDR,
		KubernetesServiceIP: net.ParseIP(a.facts.ServiceIP),
		DNSServiceIP:        net.ParseIP(a.facts.DNSServiceIP),
		DNSUser:             a.dnsPodsUser(),
		NodePortRange:       a.facts.NodePortRange,
		ClusterDomain:       a.values.Networking.Advanced.ClusterDomain,
		Tokens:              tokens(a.values),
		Replicas:            a.apiServers(),
		Name:                a.options.identity().Pod,
		ExtraSANs: append(a.values.ServingNames(),
			service, service+"."+a.names.Namespace, service+"."+a.names.Namespace+".svc"),
		KubeletDial:      a.proxy.Dial,
		Dial:             a.dialer.DialContext,
		Issuers:          a.issuers,
		Controllers:      a.controllers(),
		Audit:            a.auditOptions(),
		FeatureGates:     a.values.ControlPlane.Advanced.FeatureGates,
		PseudoNodes:      !a.values.Sync.IsEnabled("sync.fromHost.nodes"),
		Admission:        a.admission(),
		HostFirst:        a.hostFirstSteps(),
		Encryption:       a.encryption(),
		Writes:           writeLimit(a.values.Policies.Writes),
		SyncedGroups:     a.syncedGroups(),
		OnRequest:        a.countRequest(),
		ObserveInformers: a.informers.Wrap,
		Handlers: map[string]http.Handler{
			"/syncz":   operator.Syncz(func() syncz.Report { return a.health.report().ForTenant() }),
			"/metrics": operator.TenantMetrics(legacyregistry.DefaultGatherer),
		},
	}
}

// controllers returns the names of the controllers that the control plane runs.
func (a *configuration) controllers() []string {
	all := controlplane.DefaultControllers()
	if a.values.Sync.IsEnabled(policy.ResourceClaimsSetting) {
		all = append(all, controlplane.ResourceClaimController)
	}
	if a.values.ControlPlane.Advanced.VirtualScheduler.Enabled {
		all = append(all, controlplane.TaintEvictionController)
	}
	return all
}

// tokens returns the settings of service account tokens.
func tokens(values *v1alpha1.Config) controlplane.TokenOptions {
	settings := values.ControlPlane.Advanced.ServiceAccountTokens
	return controlplane.TokenOptions{
		Issuer:        values.ControlPlane.Advanced.ServiceAccountIssuer,
		FormerIssuers: settings.FormerIssuers,
		KeysURL:       settings.JWKSURI,
		Strict:        !settings.ExtendExpiration,
	}
}

// encryption returns the options of encryption at rest.
func (a *openApp) encryption() encryption.Options {
	settings := a.values.ControlPlane.Advanced.Encryption
	a.encryptionKeys = &host.EncryptionKeys{
		Client: a.ownClient, Release: a.names, NewKeys: encryption.NewKeys,
		MayWrite: a.holder.MayWrite, Clock: clock.RealClock{},
	}
	return encryption.Options{
		Enabled:   settings.Enabled,
		Resources: settings.Resources,
		Secret:    cmp.Or(settings.KeySecret, a.names.Encryption()),
		Replica:   a.options.identity().Pod,
		Replicas:  a.listReplicas,
		Keys:      a.encryptionKeys,
	}
}

// isSyncer reports whether the syncer sent a request. The loopback transport records the user in
// the context, which nobody outside the process can do.
func isSyncer(ctx context.Context) bool {
	name, ok := internalUser(ctx)
	return ok && name == syncerUser
}

// internalUser returns the user of a request that came from within the process.
func internalUser(ctx context.Context) (name string, ok bool) {
	who, ok := loopback.UserOf(ctx)
	if !ok {
		return "", false
	}
	return who.GetName(), true
}

// admission returns the admission plugins that the virtual API server runs in addition to those
// of Kubernetes.
func (a *openApp) admission() []controlplane.Plugin {
	var plugins []controlplane.Plugin
	if a.values.Policies.ReadOnly {
		plugins = append(plugins, controlplane.Plugin{Name: "SubletReadOnly", Interface: admission.ReadOnly(admission.ReadOnlyOptions{
			InternalUser: internalUser,
		})})
	}
	plugins = append(plugins, []controlplane.Plugin{{Name: "SubletCosts", Interface: admission.Costs()}, {Name: "SubletPolicy", Interface: admission.Policy(admission.PolicyOptions{
		IsSyncer: isSyncer,
		Sent:     controlplane.SentObject,
		Checks:   a.policyChecks(),
	})}, {Name: "SubletNodes", Interface: admission.Nodes(admission.NodeOptions{
		IsSyncer: isSyncer,
		Rules: nodes.Rules{
			VirtualScheduler: a.values.ControlPlane.Advanced.VirtualScheduler.Enabled,
			Nodes:            a.values.Sync.FromHost.Nodes,
			Tolerations:      a.values.Sync.ToHost.Pods.Tolerations(),
		},
		Host: a.hostFirst,
	})}}...)
	return plugins
}

// hostFirstSteps returns the admission steps that write to the host before the object is stored.
func (a *connectedApp) hostFirstSteps() []controlplane.HostFirst {
	var steps []controlplane.HostFirst
	if a.values.Sync.IsEnabled("sync.toHost.services") {
		steps = append(steps, admission.Services(admission.ServiceOptions{
			Host: a.hostFirst, Rules: policy.NewServices(a.values.Policies.Services), IsSyncer: isSyncer, Sent: controlplane.SentObject,
		}))
	}
	if a.values.Sync.ToHost.PersistentVolumes.Enabled {
		steps = append(steps, admission.Volumes(admission.VolumeOptions{
			IsSyncer: isSyncer, SetReclaimPolicy: volumePolicies{a.tenantClient, a.cluster()}.set,
		}))
	}
	return steps
}

// policyChecks returns the checks of the SubletPolicy plugin.
func (a *openApp) policyChecks() admission.Checks {
	view := hostView{a.hostFirst, a.cluster(), a.tenantClient, a.ownClasses()}
	checks := admission.PolicyChecks(a.values, view)
	admission.AddEvictionChecks(checks, a.values, view, a.api.listBudgets)
	admission.AddSnapshotChecks(checks, a.values, view.SnapshotClasses)
	admission.AddClaimChecks(checks, a.values, view.ShowsDeviceClass)
	admission.AddDeviceChecks(checks, a.values, view.DeviceClasses)
	isTerminating := func(name string) bool {
		namespace, err := a.api.controlPlane.Informers().Core().V1().Namespaces().Lister().Get(name)
		return err == nil && namespace.DeletionTimestamp != nil
	}
	admission.AddMappedChecks(checks, a.values, isTerminating)
	admission.AddCustomResourceChecks(checks, a.customResourceOptions(isTerminating))
	admission.AddNodeNameChecks(checks, a.values, a.api.readNode)
	admission.AddReplicaChecks(checks, a.api.admissionReader)
	admission.AddBindingChecks(checks, a.api.admissionReader)
	checks.Add(schema.GroupResource{Group: "apiregistration.k8s.io", Resource: "apiservices"}, admission.CheckAPIServices(
		a.values.Policies.ControlPlane.Egress, func(namespace, name string) (*corev1.Service, error) {
			return a.api.controlPlane.Informers().Core().V1().Services().Lister().Services(namespace).Get(name)
		}))
	return checks
}

// checkSelectors returns all that is wrong with the selectors of objects of the host.
func checkSelectors(sync *v1alpha1.Sync) error {
	selectors := map[string]metav1.LabelSelector{} // setting -> selector
	for setting := range sync.Kinds {
		selectors[setting] = sync.SelectorOf(setting)
	}
	for name, settings := range sync.FromHost.CustomResources {
		if settings.Enabled {
			selectors["sync.fromHost.customResources["+name+"]"] = settings.Selector
		}
	}
	var errs []error
	for _, setting := range slices.Sorted(maps.Keys(selectors)) {
		selector := selectors[setting]
		if _, err := metav1.LabelSelectorAsSelector(&selector); err != nil {
			errs = append(errs, fmt.Errorf("cannot use %s.selector: %w", setting, err))
		}
	}
	return errors.Join(errs...)
}
