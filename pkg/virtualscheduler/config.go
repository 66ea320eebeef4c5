package virtualscheduler

import (
	"errors"
	"fmt"
	"slices"

	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"
)

// loadConfig is the configuration that text says, or the default one if it says
// nothing, with the plugin in every profile. An unknown or repeated field is an
// error, and so is what would have no effect here.
func loadConfig(text string, hostSchedulers []string) (*schedulerconfig.KubeSchedulerConfiguration, error) {
	config, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("not a KubeSchedulerConfiguration: %w", err)
	}
	// There is one scheduler and it needs no lease.
	config.LeaderElection.LeaderElect = false
	if err := validation.ValidateKubeSchedulerConfiguration(config); err != nil {
		return nil, err
	}
	if config.ClientConnection.Kubeconfig != "" {
		return nil, errors.New("clientConnection.kubeconfig: the scheduler is connected already; leave it out")
	}
	for i := range config.Profiles {
		name := config.Profiles[i].SchedulerName
		if slices.Contains(hostSchedulers, name) {
			return nil, fmt.Errorf("profiles[%d].schedulerName: %q is also in sync.toHost.pods.hybridScheduling.hostSchedulers; "+
				"take it out of one of the two", i, name)
		}
		addPlugin(&config.Profiles[i])
	}
	return config, nil
}

func decode(text string) (*schedulerconfig.KubeSchedulerConfiguration, error) {
	if text == "" {
		return latest.Default()
	}
	object, kind, err := scheme.Codecs.UniversalDecoder().Decode([]byte(text), nil, nil)
	if err != nil {
		return nil, err
	}
	config, is := object.(*schedulerconfig.KubeSchedulerConfiguration)
	if !is {
		return nil, fmt.Errorf("it is a %s", kind.Kind)
	}
	config.APIVersion = kind.GroupVersion().String()
	return config, nil
}

// addPlugin puts the plugin into a profile: before every plugin that binds, since
// none has to, and before those that make room, as it only looks on. It is named at
// each of its points, so that an operator who disables all others there does not
// disable it.
func addPlugin(profile *schedulerconfig.KubeSchedulerProfile) {
	if profile.Plugins == nil {
		profile.Plugins = &schedulerconfig.Plugins{}
	}
	ours := schedulerconfig.Plugin{Name: pluginName}
	profile.Plugins.MultiPoint.Enabled = append(profile.Plugins.MultiPoint.Enabled, ours)
	for _, point := range []*schedulerconfig.PluginSet{
		&profile.Plugins.Filter, &profile.Plugins.PostFilter, &profile.Plugins.PreBind, &profile.Plugins.Bind,
	} {
		point.Enabled = slices.Insert(point.Enabled, 0, ours)
	}
}
