package app

import (
	"context"
	"fmt"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
	"github.com/sublet-dev/sublet/pkg/app/manifests"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// manifestsUser applies the manifests of the settings.
const manifestsUser = "system:sublet:manifests"

// manifestParts returns what applies the manifests of the settings for one term of the leader.
func (a *app) manifestParts() []lifecycle.Part {
	if a.values.Experimental.Deploy.VCluster.Manifests == "" {
		return nil
	}
	return []lifecycle.Part{{Name: "manifests", Run: a.runManifests, Leader: true}}
}

// runManifests applies the manifests until ctx ends.
func (a *app) runManifests(ctx context.Context) error {
	config := a.controlPlane.ClientConfig(manifestsUser, pki.GroupAdmins)
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("cannot build a client of the virtual cluster: %w", err)
	}
	kinds, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("cannot build a client of the virtual cluster: %w", err)
	}
	applier := &manifests.Applier{
		Client: client, Mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kinds)),
		Text: a.values.Experimental.Deploy.VCluster.Manifests, Clock: clock.RealClock{},
	}
	defer a.health.add(applier.Checks)()
	return applier.Run(ctx)
}
