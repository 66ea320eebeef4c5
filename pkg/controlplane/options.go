package controlplane

import (
	"context"
	"fmt"
	"maps"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// options returns upstream's options with the changes for a virtual cluster. Files of upstream are
// replaced by values.
func (a *assembly) options(proxyCert, proxyKey string) (options.CompletedOptions, error) {
	c := a.config
	o := options.NewServerRunOptions()

	o.GenericServerRunOptions.AdvertiseAddress = c.AdvertiseAddress
	o.GenericServerRunOptions.ExternalHost = c.AdvertiseAddress.String()
	o.ServiceClusterIPRanges = c.ServiceCIDR
	if c.NodePortRange != "" {
		if err := o.ServiceNodePortRange.Set(c.NodePortRange); err != nil {
			return options.CompletedOptions{}, fmt.Errorf("cannot use the range of node ports: %w", err)
		}
	}
	o.AllowPrivileged = true // the host's policy decides, not the virtual cluster's
	o.EndpointReconcilerType = string(reconcilers.NoneEndpointReconcilerType)
	// A loopback address is no endpoint for anybody.
	if c.Replicas > 1 && !c.AdvertiseAddress.IsLoopback() {
		o.EndpointReconcilerType = string(reconcilers.LeaseEndpointReconcilerType)
	}
	o.ProxyClientCertFile, o.ProxyClientKeyFile = proxyCert, proxyKey

	// Neither profiles nor log levels of the process are the tenant's business,
	// although a tenant may do everything in the virtual cluster.
	o.Features.EnableProfiling = false

	o.Etcd.StorageConfig.Transport.ServerList = []string{a.endpoint}
	o.Etcd.StorageConfig.Transport.EgressLookup = egress(c.Storage)
	o.Etcd.StorageConfig.CompactionInterval = 0 // the backend's own work
	o.Etcd.StorageConfig.DBMetricPollInterval = 0
	o.Etcd.SkipHealthEndpoints = true // replaced by a check on the shared client

	// Nodes come with the host's taints. This step would taint every new node for a
	// node controller to remove, of which there is none here.
	o.Admission.GenericAdmission.DisablePlugins = []string{"TaintNodesByCondition"}
	if c.PseudoNodes {
		// A pseudonode has neither the size nor the features of its host node. The host checks a resize.
		o.Admission.GenericAdmission.DisablePlugins = append(o.Admission.GenericAdmission.DisablePlugins,
			"PodResizeValidator", "NodeDeclaredFeatureValidator")
	}
	o.Admission.GenericAdmission.Decorators = append(admission.Decorators{
		admission.DecoratorFunc(boundWebhookAnswers), admission.DecoratorFunc(exemptOwnRequests),
	}, o.Admission.GenericAdmission.Decorators...)

	o.Authorization.Modes = []string{"RBAC"}
	o.Authentication.ClientCert.CAContentProvider = a.clientCA
	o.Authentication.ServiceAccounts.Issuers = c.issuers()
	o.Authentication.ServiceAccounts.JWKSURI = c.keysURL()
	o.Authentication.ServiceAccounts.ExtendExpiration = !c.Tokens.Strict
	key := c.PKI.ServiceAccountKey()
	public, err := serviceaccount.StaticPublicKeysGetter(c.PKI.ServiceAccountKeys())
	if err != nil {
		return options.CompletedOptions{}, fmt.Errorf("cannot use the service account key: %w", err)
	}
	o.Authentication.ServiceAccounts.ExternalPublicKeysGetter = public
	if o.ServiceAccountIssuer, err = serviceaccount.JWTTokenGenerator(c.issuers()[0], key); err != nil {
		return options.CompletedOptions{}, fmt.Errorf("cannot use the service account key: %w", err)
	}

	// Without a port the options make no certificates of their own.
	o.SecureServing.BindPort = 0
	completed, err := o.Complete(context.Background()) //nolint:forbidigo // it starts nothing
	if err != nil {
		return options.CompletedOptions{}, fmt.Errorf("cannot configure the API server: %w", err)
	}
	return completed, nil
}

// disabledFeatures returns the features that assume a remote store, or a front proxy that this API
// server does not trust.
func disabledFeatures() []featuregate.Feature {
	return []featuregate.Feature{
		// Passes a request that another version of the API server knows on to it, in
		// the name of the front proxy. Ours accepts no front proxy.
		features.UnknownVersionInteroperabilityProxy,
		// Keeps old states of the cache for lists that continue, which the
		// store answers as well.
		features.ListFromCacheSnapshot,
		// Both wait in a cache until it is as new as the store, which a cache
		// learns from reports of progress. Ours gets none: consistent reads go
		// to the store.
		features.SizeBasedListCostEstimate,
		features.WatchList,
		// Reads a list as a stream. Lists of tenants are read in pages, whose
		// memory is bounded.
		features.EtcdRangeStream,
	}
}

// setFeatureGates sets the given gates, and disables disabledFeatures. Gates are process-wide, so all
// control planes of a process must have the same.
func setFeatureGates(given map[string]bool) error {
	changed := maps.Clone(given)
	if changed == nil {
		changed = map[string]bool{}
	}
	for _, gate := range disabledFeatures() {
		changed[string(gate)] = false
	}
	maps.DeleteFunc(changed, func(gate string, on bool) bool {
		return utilfeature.DefaultFeatureGate.Enabled(featuregate.Feature(gate)) == on
	})
	if len(changed) == 0 {
		return nil
	}
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(changed); err != nil {
		return fmt.Errorf("cannot set the feature gates of the API server: %w", err)
	}
	return nil
}

// ownsMetrics reports whether one of the handlers serves the metrics.
func (c *Config) ownsMetrics() bool { return c.Handlers["/metrics"] != nil }
