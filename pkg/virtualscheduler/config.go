package virtualscheduler

import (
	"errors"
	"fmt"
	"slices"

	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
)

// scoreWeight is the weight of the plugin's score. A quarter of it outweighs the default
// plugins together. The plugin scores no node for a pod that was never refused.
const scoreWeight = 120

// CheckConfig returns what is wrong with the configuration in text. hostSchedulers are the names
// that belong to schedulers of the host.
func CheckConfig(text string, hostSchedulers []string) error {
	_, err := loadConfig(text, hostSchedulers)
	return err
}

// loadConfig returns the configuration in text, or the default one if text is empty,
// with the plugin in every profile. It fails on an unknown or repeated field, and
// on a field that would have no effect.
func loadConfig(text string, hostSchedulers []string) (*schedulerconfig.KubeSchedulerConfiguration, error) {
	config, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("not a KubeSchedulerConfiguration: %w", err)
	}
	// There is one scheduler, which needs no lease.
	config.LeaderElection.LeaderElect = false
	if err := validation.ValidateKubeSchedulerConfiguration(config); err != nil {
		return nil, err
	}
	if config.ClientConnection.Kubeconfig != "" {
		return nil, errors.New("clientConnection.kubeconfig: not used, the scheduler runs in the virtual cluster's process; remove it")
	}
	for i := range config.Profiles {
		name := config.Profiles[i].SchedulerName
		if slices.Contains(hostSchedulers, name) {
			return nil, fmt.Errorf("profiles[%d].schedulerName: %q is also in sync.toHost.pods.hybridScheduling.hostSchedulers; "+
				"remove it from one of the two", i, name)
		}
		if err := checkPlugins(config.Profiles[i].Plugins, fmt.Sprintf("profiles[%d]", i)); err != nil {
			return nil, err
		}
		addPlugin(&config.Profiles[i])
	}
	return config, nil
}

// decode returns the configuration in text.
func decode(text string) (*schedulerconfig.KubeSchedulerConfiguration, error) {
	if text == "" {
		return latest.Default()
	}
	object, kind, err := scheme.Codecs.UniversalDecoder().Decode([]byte(text), nil, nil)
	if err != nil {
		return nil, err
	}
	config, ok := object.(*schedulerconfig.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("found a %s", kind.Kind)
	}
	config.APIVersion = kind.GroupVersion().String()
	return config, nil
}

// addPlugin adds the plugin to a profile, in front of all others at its points. It
// binds instead of them, and records a failure before they make room. It is named at
// each point, so that an operator who disables all others there keeps it.
func addPlugin(profile *schedulerconfig.KubeSchedulerProfile) {
	if profile.Plugins == nil {
		profile.Plugins = &schedulerconfig.Plugins{}
	}
	ours := schedulerconfig.Plugin{Name: pluginName}
	scoring := schedulerconfig.Plugin{Name: pluginName, Weight: scoreWeight}
	profile.Plugins.MultiPoint.Enabled = append(profile.Plugins.MultiPoint.Enabled, ours)
	for _, point := range []*schedulerconfig.PluginSet{
		&profile.Plugins.Filter, &profile.Plugins.PostFilter, &profile.Plugins.PreScore,
		&profile.Plugins.PreBind, &profile.Plugins.Bind,
	} {
		point.Enabled = slices.Insert(point.Enabled, 0, ours)
	}
	profile.Plugins.Score.Enabled = slices.Insert(profile.Plugins.Score.Enabled, 0, scoring)
	for _, off := range leftToHost(profile.Plugins) {
		off.set.Disabled = append(off.set.Disabled, schedulerconfig.Plugin{Name: off.plugin})
	}
}

// switchedOff is a plugin that is off at one point of every profile.
type switchedOff struct {
	plugin, point string
	set           *schedulerconfig.PluginSet
}

// leftToHost returns the plugins that are off in favor of the host's scheduler. The host alone
// allocates devices, as only its scheduler sees the claims of others. It alone binds volumes,
// with its own pod. Before it has answered, a node on the claim would hold the pod to that node,
// whatever the host refuses.
func leftToHost(p *schedulerconfig.Plugins) []switchedOff {
	return []switchedOff{
		{names.DynamicResources, "postFilter", &p.PostFilter},
		{names.DynamicResources, "reserve", &p.Reserve},
		{names.DynamicResources, "preBind", &p.PreBind},
		{names.VolumeBinding, "preBind", &p.PreBind},
	}
}

// checkPlugins returns an error if a profile enables a plugin at a point where it is off.
func checkPlugins(p *schedulerconfig.Plugins, path string) error {
	if p == nil {
		return nil
	}
	for _, off := range leftToHost(p) {
		if slices.ContainsFunc(off.set.Enabled, func(enabled schedulerconfig.Plugin) bool { return enabled.Name == off.plugin }) {
			return fmt.Errorf("%s.plugins.%s.enabled: %s is left to the host's scheduler there; remove it", path, off.point, off.plugin)
		}
	}
	return nil
}
