package app

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
	"github.com/sublet-dev/sublet/pkg/app/manifests"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// manifestsUser is the user that applies the manifests of the settings.
const manifestsUser = "system:sublet:manifests"

// deploySetting is the path prefix of the settings that contain manifests and charts.
const deploySetting = "experimental.deploy.vcluster."

// manifestParts returns the part that applies these manifests and charts during one leader term.
func (a *builtApp) manifestParts() []lifecycle.Part {
	deploy := a.values.Experimental.Deploy.VCluster
	if deploy.Manifests == "" && deploy.ManifestsTemplate == "" && len(deploy.Helm) == 0 {
		return nil
	}
	return []lifecycle.Part{{Name: "manifests", Run: a.runManifests, Leader: true}}
}

// runManifests applies the manifests and charts until ctx ends.
func (a *builtApp) runManifests(ctx context.Context) error {
	config := a.controlPlane.ClientConfig(manifestsUser, pki.GroupAdmins)
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("cannot build a client of the virtual cluster: %w", err)
	}
	kinds, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("cannot build a client of the virtual cluster: %w", err)
	}
	sources, err := a.manifestSources(manifests.Discover(kinds))
	if err != nil {
		return err
	}
	applier := &manifests.Applier{
		Client: client, Mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kinds)),
		Sources: sources, Clock: clock.RealClock{},
	}
	defer a.health.add(applier.Checks)()
	return applier.Run(ctx)
}

// manifestSources returns the sources of the objects, in the order in which they are applied.
func (a *configuration) manifestSources(cluster manifests.Cluster) ([]manifests.Source, error) {
	deploy := a.values.Experimental.Deploy.VCluster
	var sources []manifests.Source
	if deploy.Manifests != "" {
		sources = append(sources, manifests.Text(deploySetting+"manifests", deploy.Manifests))
	}
	if deploy.ManifestsTemplate != "" {
		values, err := a.templateValues()
		if err != nil {
			return nil, err
		}
		release := manifests.Release{Name: a.names.Name, Namespace: a.names.Namespace}
		sources = append(sources, manifests.Template(deploySetting+"manifestsTemplate", deploy.ManifestsTemplate, release, values, cluster))
	}
	for i, chart := range deploy.Helm {
		sources = append(sources, manifests.Chart(fmt.Sprintf("%shelm[%d]", deploySetting, i), chart, cluster))
	}
	return sources, nil
}

// templateValues returns the settings in the form in which templates read them.
func (a *configuration) templateValues() (map[string]any, error) {
	data, err := json.Marshal(a.values)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the settings: %w", err)
	}
	var values map[string]any
	if err := json.Unmarshal(data, &values); err != nil {
		return nil, fmt.Errorf("cannot decode the settings: %w", err)
	}
	return values, nil
}
